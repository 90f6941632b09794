"""The attentions against the published ones, gradients included, loaded through the converter."""

import math
from functools import partial

import pytest
import torch

from tests import goldens
from tests.test_ops.cases import backend_parameters
from vil_mm.conversion.vil import convert_state_dict
from vil_mm.models import (
    FullAttention,
    LinformerAttention,
    PerformerAttention,
    SlidingWindowAttention,
    SpatialReductionAttention,
)
from vil_mm.models.attentions import sliding_window_attention as module

# By published class: ours, and our names of its settings.
OTHERS = {
    'LinformerSelfAttention': (LinformerAttention, {'num_feats': 'num_features', 'share_kv': 'share_kv'}),
    'PerformerSelfAttention': (PerformerAttention, {'nb_features': 'num_features'}),
    'SRSelfAttention': (SpatialReductionAttention, {'rratio': 'reduction_ratio'}),
}
PUBLISHED = 'layer1.1.attn.'
CONVERTED = 'backbone.stages.0.blocks.0.attn.'


def build(case):
    args, call = case['build'], case['call']
    grid = call['nx'], call['ny']
    if args['class'] in OTHERS:
        type_, settings = OTHERS[args['class']]
        num_global = case['input']['shape'][1] - math.prod(grid)
        given = {own: args[published] for published, own in settings.items()}
        if type_ is LinformerAttention:
            given['grid_size'] = grid
        return type_(args['dim'], args['num_heads'], num_global_tokens=num_global, qkv_bias=args['qkv_bias'], **given)
    common = dict(num_global_tokens=args['nglo'], qkv_bias=args['qkv_bias'], relative_position_bias=args['rpe'])
    if args['class'] == 'Attention':
        return FullAttention(args['dim'], args['num_heads'], grid_size=(args['wx'], args['wy']), **common)
    return SlidingWindowAttention(
        args['dim'],
        args['num_heads'],
        window_size=args['w'],
        mask=goldens.MASKS[args['exact']],
        neighbors=goldens.neighbors(args['mode'], call['sampled_mode']),
        share_global_proj=args['sharew'],
        only_global=args['only_glo'],
        **common,
    )


@pytest.mark.parametrize('backend', backend_parameters('cpu', 'pytorch', 'reference', 'triton'))
@pytest.mark.parametrize('dtype', [torch.float64, torch.float32])
@pytest.mark.parametrize('name', goldens.cases('vil_attention'))
def test_golden(name, dtype, backend, monkeypatch):
    if backend == 'triton' and dtype == torch.float64:
        pytest.skip('the kernels do not compute in float64')
    monkeypatch.setattr(module, 'sliding_window_attention', partial(module.sliding_window_attention, backend=backend))
    case, published, x, expected = goldens.load(name, dtype)
    converted, _ = convert_state_dict({PUBLISHED + key: value for key, value in published.items()})
    attention = build(case).to(dtype).eval()
    attention.load_state_dict({key.removeprefix(CONVERTED): value for key, value in converted.items()})

    x.requires_grad_()
    tokens = attention(x, (case['call']['nx'], case['call']['ny']))
    (tokens * torch.from_numpy(goldens.golden.cotangent(case)).to(dtype)).sum().backward()

    width = case['build']['dim']
    bias = getattr(attention, 'relative_position_bias', None)
    gradients = {
        'tokens': lambda: tokens,
        'grad_input': lambda: x.grad,
        'grad_qkv_weight': lambda: attention.qkv.weight.grad,
        'grad_kv_weight': lambda: attention.qkv.weight.grad[width:],
        'grad_bias_table': lambda: bias.table.grad.flatten(0, 1),
        'grad_proj_k': lambda: attention.proj_k.grad,
        'grad_proj_v': lambda: attention.proj_v.grad,
        'grad_proj_sr': lambda: attention.reduction.weight.grad,
        'grad_g2l': lambda: bias.global_local.grad,
    }
    goldens.check(case, expected, {name: gradients[name]() for name in expected}, dtype)
