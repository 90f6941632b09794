"""DWNet and its parts against the published ones, through the converter and our configs."""

import numpy as np
import pytest
import torch

from tests import goldens
from tests.data.goldens import golden
from vil_mm.conversion.dwnet import convert_state_dict
from vil_mm.models.backbones.dwnet import DepthwiseMixer, DWNetBlock, build_depthwise

DTYPES = pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
BATCH_NORM = dict(type='BN')


def conv_type(kwargs):
    if not kwargs.get('dynamic'):
        return 'static'
    return 'inhomogeneous' if kwargs.get('inhomogeneous') else 'dynamic'


def convert_part(published, before, after):
    """Convert tensors of a part of a model: what precedes their names there, and in the converted model."""
    converted, dropped = convert_state_dict({before + name: tensor for name, tensor in published.items()})
    assert not dropped and all(name.startswith(after) for name in converted)
    return {name.removeprefix(after): tensor for name, tensor in converted.items()}


def build_layer(build):
    kwargs = build['kwargs']
    dim = kwargs['dim']
    num_groups = dim // kwargs['heads'] if 'heads' in kwargs else None
    mixer = DepthwiseMixer(dim, build_depthwise(conv_type(kwargs), dim, num_groups, BATCH_NORM), BATCH_NORM)
    if build['entry'] == 'DWBlock':
        return mixer, 'layers.0.blocks.0.attn2conv.', 'backbone.stages.0.blocks.0.mixer.'
    block = DWNetBlock(mixer, kwargs['window_size'], embed_dims=dim, norm_cfg=BATCH_NORM)
    return block, 'layers.0.blocks.0.', 'backbone.stages.0.blocks.0.'


@DTYPES
@pytest.mark.parametrize('name', goldens.cases('dwnet_layer', 'dwnet'))
def test_layer(name, dtype):
    case, published, x, expected = goldens.load(name, dtype, folder='dwnet')
    layer, before, after = build_layer(case['build'])
    layer = layer.to(dtype).eval()
    layer.load_state_dict(convert_part(published, before, after), strict=True)
    x.requires_grad_()
    size = case['build'].get('size', x.shape[1:3])
    if isinstance(layer, DWNetBlock):
        output = layer(x.view(len(x), -1, x.shape[-1]), tuple(size)).view(x.shape)
    else:
        output = layer(x.view(len(x), *size, -1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).reshape(x.shape)
    (output * torch.from_numpy(golden.cotangent(case)).to(dtype)).sum().backward()
    goldens.check(case, expected, dict(output=output, grad_input=x.grad), dtype)


@DTYPES
@pytest.mark.parametrize('name', [name for name in goldens.cases('dwnet', 'dwnet') if '_cls_' in name])
def test_classifier(name, dtype):
    case, published, images, expected = goldens.load(name, dtype, folder='dwnet')
    classifier = goldens.build(name, dtype, folder='dwnet')
    classifier.load_state_dict(convert_state_dict(published)[0], strict=True)
    with torch.no_grad():
        logits = classifier.head(classifier.extract_feat(images))
    goldens.check(case, expected, {'logits': logits}, dtype)
    error = np.abs(logits.double().numpy() - expected['logits']).max() / np.abs(expected['logits']).max()
    assert error <= min(2e-5, goldens.TOLERANCE[dtype])


@DTYPES
def test_detection_backbone(dtype):
    case, published, images, expected = goldens.load('dwnet_tiny_backbone_171x245', dtype, folder='dwnet')
    backbone = goldens.build('dwnet_tiny_backbone_171x245', dtype, folder='dwnet').backbone
    backbone.load_state_dict(convert_part(published, 'backbone.', 'backbone.'), strict=True)
    with torch.no_grad():
        maps = backbone(images)
    goldens.check(case, expected, {f'stage{i}': featmap for i, featmap in enumerate(maps)}, dtype)
