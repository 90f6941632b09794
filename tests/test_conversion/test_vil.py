"""Published classification files of Vision Longformer."""

import pytest
import torch

from tests.test_conversion.published import tensors
from vil_mm.conversion.vil import convert_state_dict


@pytest.fixture(scope='module')
def published():
    return tensors('vil/cls_tiny_rpe_160_mode1_eval')


def test_what_is_left_out(published):
    converted, dropped = convert_state_dict(published)
    attention = 'layer1.1.attn.'
    assert dropped[f'{attention}relative_position_index'] == 'derived: computed from the grid'
    assert dropped[f'{attention}query_global.weight'] == f'shared: equal to {attention}query.weight'
    assert not any(name.startswith('layer4.0') for name in dropped)
    assert not any('attn.q_' in name for name in converted)
    query, rest = (published[f'{attention}{name}.bias'] for name in ('query', 'kv'))
    assert torch.equal(converted['backbone.stages.0.blocks.0.attn.qkv.bias'], torch.cat([query, rest]))


def test_unequal_global_projections_are_kept(published):
    published = dict(published)
    name = 'layer1.1.attn.kv_global.bias'
    published[name] = published[name] + 1
    converted, dropped = convert_state_dict(published)
    assert torch.equal(converted['backbone.stages.0.blocks.0.attn.kv_global.bias'], published[name])
    assert 'backbone.stages.0.blocks.0.attn.q_global.weight' in converted
    assert 'layer2.1.attn.kv_global.bias' in dropped


@pytest.mark.parametrize('equal', [True, False])
def test_shared_projections_of_linformer(equal):
    prefix = 'layer1.1.attn.'
    state = {f'{prefix}proj_k': torch.ones(3), f'{prefix}proj_v': torch.full((3,), 1.0 if equal else 2.0)}
    converted, dropped = convert_state_dict(state)
    assert dropped == ({f'{prefix}proj_v': f'shared: equal to {prefix}proj_k'} if equal else {})
    assert ('backbone.stages.0.blocks.0.attn.proj_v' in converted) is not equal


def test_empty_positions_are_left_out(published):
    published = dict(published, **{'layer4.0.cls_pos_embed': torch.zeros(1, 0, 384)})
    _, dropped = convert_state_dict(published)
    assert dropped['layer4.0.cls_pos_embed'].startswith('empty')


def test_blocks_are_counted(published):
    """The tenth block of a stage is its modules 19 and 20."""
    state = {f'layer3.{module}.norm.bias': torch.zeros(1) for module in (19, 20)}
    converted, _ = convert_state_dict(state)
    assert [*converted] == [f'backbone.stages.2.blocks.9.norm{number}.bias' for number in (1, 2)]
