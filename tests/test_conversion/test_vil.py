"""The converter of published classification files (what it computes: see the goldens)."""

import os

import pytest
import torch

from tests import goldens
from tests.conftest import run_tool
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.vil import convert_state_dict

CONVERTER = 'tools/model_converters/vil2mm.py'


@pytest.fixture(scope='module')
def published():
    _, state, _, _ = goldens.load('cls_tiny_rpe_160_mode1_eval', torch.float32)
    return state


def test_as_a_command(published, tmp_path):
    source, target = tmp_path / 'model_best.pth', tmp_path / 'vil.pth'
    torch.save(dict(net=published, arch='msvit', epoch=299, best_acc=0.8, optimizer=dict(lr=1)), source)
    output = run_tool(CONVERTER, source, target).stdout
    assert 'relative_position_index: derived' in output
    assert 'query_global.weight: shared: equal to query.weight' in output
    assert 'layer4.0' not in output
    assert 'what else the file holds: optimizer' in output
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint['meta'] == dict(arch='msvit', epoch=299, best_acc=0.8, converted_from='model_best.pth')
    assert not any('global' in name and 'attn.q_' in name for name in checkpoint['state_dict'])


def test_unequal_global_projections_are_kept(published):
    published = dict(published)
    name = 'layer1.1.attn.kv_global.bias'
    published[name] = published[name] + 1
    converted, dropped = convert_state_dict(published)
    assert torch.equal(converted['backbone.stages.0.blocks.0.attn.kv_global.bias'], published[name])
    assert 'backbone.stages.0.blocks.0.attn.q_global.weight' in converted
    assert 'layer2.1.attn.kv_global.bias' in dropped


def test_empty_positions_are_left_out(published):
    published = dict(published, **{'layer4.0.cls_pos_embed': torch.zeros(1, 0, 384)})
    _, dropped = convert_state_dict(published)
    assert dropped['layer4.0.cls_pos_embed'].startswith('empty')


def test_only_a_common_prefix_is_stripped(published):
    with pytest.raises(ValueError, match=r"\['module.layer1.0.proj.weight'\]"):
        convert_state_dict({'module.layer1.0.proj.weight': torch.zeros(1), 'head.bias': torch.zeros(1)})


@pytest.mark.parametrize('name', ['layer1.1.mlp.fc1.weight', 'layer2.0.pos_embed', 'blocks.0.attn.qkv.weight'])
def test_unknown_names_fail(published, name):
    with pytest.raises(ValueError, match=f'not those of a Vision Longformer: .*{name}'):
        convert_state_dict({**published, name: torch.zeros(1)})


def test_other_files_fail(tmp_path):
    torch.save(dict(model={}), tmp_path / 'detector.pth')
    result = run_tool(CONVERTER, tmp_path / 'detector.pth', tmp_path / 'out.pth', check=False)
    assert result.returncode != 0
    assert "must hold 'net', but holds ['model']" in result.stdout and 'Traceback' not in result.stdout
    with pytest.raises(FileNotFoundError):
        convert_file(tmp_path / 'none.pth', tmp_path / 'out.pth', convert_state_dict, ['net'], 'classification')


def test_code_does_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "ran"}',)

    torch.save(dict(net={}, args=Code()), tmp_path / 'code.pth')
    with pytest.raises(ValueError, match=r'posix\.system'):
        convert_file(tmp_path / 'code.pth', tmp_path / 'out.pth', convert_state_dict, ['net'], 'classification')
    assert not (tmp_path / 'ran').exists() and not (tmp_path / 'out.pth').exists()
