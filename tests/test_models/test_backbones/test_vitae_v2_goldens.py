"""ViTAEv2*-VSA against the published models, their cells and attentions, through the converter and our configs."""

from functools import partial

import pytest
import torch

from tests import goldens
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.vitae_v2 import convert_state_dict
from vil_mm.models import VariedSizeWindowAttention, ViTAEv2
from vil_mm.models.backbones.vitae_v2 import NormalCell, ReductionCell

FOLDER = 'vitaev2_vsa'
load, build = (partial(function, folder=FOLDER) for function in (goldens.load, goldens.build))
#: As the published detectors have it.
DETECTION = dict(padding='both', swap_window_counts=True)
DTYPES = pytest.mark.parametrize('dtype', [torch.float64, torch.float32])


def convert_cell(published, before='layers.0.NC.0.', after='backbone.stages.0.blocks.0.'):
    """Convert the tensors of a cell, given what precedes their names in a published file and in a converted one."""
    converted, _ = convert_state_dict({before + name: tensor for name, tensor in published.items()})
    assert all(name.startswith(after) for name in converted)
    return {name.removeprefix(after): tensor for name, tensor in converted.items()}


def check_with_gradient(case, expected, x, forward, dtype):
    """Compare the output of a layer, and the gradient of its input."""
    x.requires_grad_()
    output = forward(x)
    (output * torch.from_numpy(goldens.golden.cotangent(case)).to(dtype)).sum().backward()
    goldens.check(case, expected, {'output': output, 'grad_input': x.grad}, dtype)


@DTYPES
@pytest.mark.parametrize('name', ['attention_cls_10x17', 'attention_det_10x17', 'attention_det_21x14'])
def test_attention(name, dtype):
    case, published, x, expected = load(f'vsa_layer_{name}', dtype)
    given = case['build']['kwargs']
    attention = VariedSizeWindowAttention(
        given['out_dim'],
        given['num_heads'],
        in_dims=given['dim'],
        window_size=given['window_size'],
        **(DETECTION if 'det' in name else {}),
    ).to(dtype)
    converted = convert_cell({f'attn.{key}': tensor for key, tensor in published.items()})
    attention.load_state_dict({key.removeprefix('attn.'): tensor for key, tensor in converted.items()})
    hw_shape = x.shape[2:]
    check_with_gradient(
        case, expected, x, lambda x: attention.eval()(x.flatten(2).mT, hw_shape).mT.unflatten(2, hw_shape), dtype
    )


@DTYPES
def test_normal_cell(dtype):
    case, published, x, expected = load('vsa_layer_normal_cell', dtype)
    given = case['build']['kwargs']
    dims, heads = given['dim'], given['num_heads']
    attention = VariedSizeWindowAttention(dims, heads, window_size=given['window_size'])
    norm_cfg = dict(type='LN', eps=1e-6)
    cell = NormalCell(attention, given['group'], given['cpe'], embed_dims=dims, norm_cfg=norm_cfg).to(dtype)
    cell.load_state_dict(convert_cell(published))
    check_with_gradient(case, expected, x, lambda x: cell.eval()(x, (10, 10)), dtype)


@DTYPES
def test_reduction_cell(dtype):
    case, published, x, expected = load('vsa_layer_reduction_cell', dtype)
    given = case['build']['kwargs']
    dims, branch_dims, dilations = given['token_dims'], given['embed_dims'], given['dilations']
    attention = VariedSizeWindowAttention(
        dims, given['num_heads'], in_dims=branch_dims * len(dilations), window_size=given['window_size']
    )
    cell = ReductionCell(
        attention,
        given['in_chans'],
        dims,
        branch_dims,
        hidden_dims=branch_dims,
        stride=given['downsample_ratios'],
        dilations=dilations,
        groups=given['group'],
        position_encoding=given['cpe'],
        norm_cfg=dict(type='LN', eps=1e-6),
    ).to(dtype)
    cell.load_state_dict(convert_cell(published, 'layers.0.RC.', 'backbone.stages.0.embed.'))
    check_with_gradient(case, expected, x, lambda x: cell.eval()(x.mT.unflatten(2, (28, 28)))[0], dtype)


@DTYPES
def test_classifier(dtype, tmp_path, monkeypatch):
    # a whole classifier in float32 is held to less
    monkeypatch.setitem(goldens.TOLERANCE, torch.float32, 2e-5)
    case, published, images, expected = load('vitaev2_vsa_s_cls_224', dtype)
    published = {f'module.{key}': value for key, value in published.items()}
    other = {key: torch.zeros_like(value) for key, value in published.items()}
    torch.save(dict(state_dict=other, state_dict_ema=published, epoch=309), tmp_path / 'best.pth.tar')
    source, target = tmp_path / 'best.pth.tar', tmp_path / 'converted.pth'
    config = goldens.write_config('vitaev2_vsa_s_cls_224', tmp_path, folder='vitaev2_vsa')
    convert_file(source, target, convert_state_dict, ['state_dict_ema'], 'ViTAEv2', 'vitae_v2', config=config)
    classifier = build('vitaev2_vsa_s_cls_224', dtype)
    state = torch.load(tmp_path / 'converted.pth', weights_only=True)['state_dict']
    classifier.load_state_dict(state, strict=True)
    with torch.no_grad():
        logits = classifier.head(classifier.extract_feat(images))
    goldens.check(case, expected, {'logits': logits}, dtype)


@DTYPES
def test_detection_backbone(dtype):
    case, published, images, expected = load('vitaev2_vsa_s_backbone_256x320', dtype)
    converted, _ = convert_state_dict({f'backbone.{key}': tensor for key, tensor in published.items()})
    backbone = build('vitaev2_vsa_s_backbone_256x320', dtype).backbone
    backbone.load_state_dict({key.removeprefix('backbone.'): tensor for key, tensor in converted.items()})
    with torch.no_grad():
        maps = backbone(images)
    goldens.check(case, expected, {f'stage{i}': featmap for i, featmap in enumerate(maps)}, dtype)
    with torch.no_grad():
        right = ViTAEv2('vsa-small', attn_cfg=dict(padding='both')).to(dtype).eval()
        right.load_state_dict(backbone.state_dict())
        others = right(images)
    # on a map that is not square, offsets by the right counts differ
    assert (others[0] - maps[0]).abs().max() > 1e-3 * maps[0].abs().max()
