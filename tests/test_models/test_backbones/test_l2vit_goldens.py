"""L2ViT and its parts against the published ones, through the converter and our configs."""

import pytest
import torch

from tests import goldens
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.l2vit import KEYS, convert_state_dict
from vil_mm.models import LinearAttention, WindowAttention
from vil_mm.models.backbones.l2vit import L2ViTBlock, LocalConcentration, on_map
from vil_mm.models.layers import ConvPositionEncoding

LOCAL, GLOBAL = 'stages.0.0.', 'stages.0.1.'
DTYPES = pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
CLASSIFIER, BACKBONE = 'l2vit_tiny_cls_224', 'l2vit_tiny_backbone_150x218'


def build_layer(build):
    """The layer that a published constructor's arguments ask for, and what precedes its names in a published file."""
    args = build['kwargs']
    norm_cfg = dict(type='LN')

    def block(attn, is_global):
        return L2ViTBlock(attn, is_global, embed_dims=args['dim'], norm_cfg=norm_cfg)

    if build['entry'] == 'CPE':
        return ConvPositionEncoding(args['dim'], args['k']), f'{LOCAL}cpe.0.'
    if build['entry'] == 'LCM':
        return LocalConcentration(args['in_features']), f'{GLOBAL}local_mp.'
    if build['entry'] == 'LinearAttention':
        return LinearAttention(args['dim'], args['num_heads']), f'{GLOBAL}attn.'
    if build['entry'] == 'LWABlock':
        attn = WindowAttention(args['dim'], args['num_heads'], window_size=args['window_size'])
        return block(attn, False), LOCAL
    assert build['entry'] == 'LGABlock'
    return block(LinearAttention(args['dim'], args['num_heads']), True), GLOBAL


def own_names(published, prefix):
    """Convert a layer's tensors, and take off what the converter puts before their names."""
    converted, dropped = convert_state_dict({prefix + name: tensor for name, tensor in published.items()})
    assert not dropped and len(converted) == len(published)
    stem = prefix.replace('stages.0.', 'backbone.stages.0.blocks.')
    for old, new in (('cpe.0.', 'position_encodings.0.'), ('local_mp.', 'local_concentration.')):
        stem = stem.replace(old, new)
    assert all(name.startswith(stem) for name in converted)
    return {name.removeprefix(stem): tensor for name, tensor in converted.items()}


@DTYPES
@pytest.mark.parametrize('name', goldens.cases('l2vit_layer', 'l2vit'))
def test_layer(name, dtype):
    case, published, x, expected = goldens.load(name, dtype, folder='l2vit')
    layer, prefix = build_layer(case['build'])
    layer.load_state_dict(own_names(published, prefix), strict=True)
    layer.to(dtype).eval()
    hw_shape = tuple(case['build'].get('size', (x.shape[1], 1)))
    x.requires_grad_()
    takes_maps = isinstance(layer, (ConvPositionEncoding, LocalConcentration))
    out = on_map(layer, x, hw_shape) if takes_maps else layer(x, hw_shape)
    (out * torch.from_numpy(goldens.golden.cotangent(case)).to(dtype)).sum().backward()
    goldens.check(case, expected, {'output': out, 'grad_input': x.grad}, dtype)


@DTYPES
def test_classifier(dtype, tmp_path, monkeypatch):
    monkeypatch.setitem(goldens.TOLERANCE, torch.float32, 2e-5)
    case, published, images, expected = goldens.load(CLASSIFIER, dtype, folder='l2vit')
    raw = {name: torch.zeros_like(tensor) for name, tensor in published.items()}
    torch.save(dict(model=raw, model_ema=published, epoch=299), tmp_path / 'best-ema.pth')
    source, target = tmp_path / 'best-ema.pth', tmp_path / 'converted.pth'
    config = goldens.write_config(CLASSIFIER, tmp_path, folder='l2vit')
    convert_file(source, target, convert_state_dict, KEYS[None], 'L2ViT', 'l2vit', config=config)

    classifier = goldens.build(CLASSIFIER, dtype, folder='l2vit')
    classifier.load_state_dict(torch.load(tmp_path / 'converted.pth', weights_only=True)['state_dict'], strict=True)
    with torch.no_grad():
        logits = classifier.head(classifier.extract_feat(images))
    goldens.check(case, expected, {'logits': logits}, dtype)


@DTYPES
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_detection_backbone(prefix, dtype):
    """All stages, each with its own norm, on an image whose sides no stride divides."""
    case, published, images, expected = goldens.load(BACKBONE, dtype, folder='l2vit')
    converted, _ = convert_state_dict({prefix + name: tensor for name, tensor in published.items()})
    backbone = goldens.build(BACKBONE, dtype, folder='l2vit').backbone
    backbone.load_state_dict({name.removeprefix('backbone.'): t for name, t in converted.items()}, strict=True)
    with torch.no_grad():
        maps = backbone(images)
    goldens.check(case, expected, {f'stage{i}': featmap for i, featmap in enumerate(maps)}, dtype)
