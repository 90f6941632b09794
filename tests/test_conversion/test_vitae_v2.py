"""The converter of ViTAEv2's published files (what it computes: see the goldens)."""

import re

import pytest
import torch

from tests import goldens
from tools.model_converters.vitae2mm import main
from vil_mm.conversion.vitae_v2 import convert_state_dict
from vil_mm.models import ViTAEv2

CONVERTER = 'tools/model_converters/vitae2mm.py'


@pytest.fixture(scope='module')
def published():
    _, state, _, _ = goldens.load('vitaev2_vsa_s_cls_224', torch.float32, folder='vitaev2_vsa')
    return state


@pytest.fixture(scope='module')
def plain():
    """A published file of ViTAEv2, whose reduction cells hold attention, norms and perceptron in one module."""
    state = {}
    for name, tensor in ViTAEv2('small').state_dict().items():
        name = name.replace('stages.', 'layers.').replace('.blocks.', '.NC.').replace('.reduction.', '.RC.')
        name = name.replace('ffn.layers.0.0', 'mlp.fc1').replace('ffn.layers.1', 'mlp.fc2')
        name = name.replace('.RC.convs.', '.RC.PCM.').replace('.convs.', '.PCM.')
        if '.RC.pyramid.PCM.' in name:
            kind = name.rpartition('.')[2]
            name = name.replace('.RC.pyramid.PCM.', '.RC.PRM.convs.').removesuffix(kind) + f'0.{kind}'
        name = re.sub(r'\.RC\.(norm[12]|mlp|attn)\.', r'.RC.attn.\1.', name)
        state[name] = torch.randn_like(tensor) if tensor.is_floating_point() else tensor
    return state


def write(path, **held):
    torch.save(dict(held, epoch=309, arch='ViTAEv2_VSA_S', optimizer=dict(lr=1)), path)


def convert(monkeypatch, *words):
    """Run the command in this process."""
    monkeypatch.setattr('sys.argv', [CONVERTER, *map(str, words)])
    main()


def test_as_a_command(published, tmp_path, monkeypatch, capsys):
    source, target = tmp_path / 'model_best.pth.tar', tmp_path / 'vitae.pth'
    write(source, state_dict=published)
    convert(monkeypatch, source, target)
    output = capsys.readouterr().out
    assert "of 'state_dict'" in output and 'file holds: optimizer\n' in output
    assert output.count('relative_position_index: derived') == 18
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint['meta'] == dict(arch='ViTAEv2_VSA_S', epoch=309, converted_from='model_best.pth.tar')


def test_the_moving_average_is_preferred(published, tmp_path, monkeypatch):
    source, target = tmp_path / 'model_best.pth.tar', tmp_path / 'vitae.pth'
    average = {f'module.{name}': tensor + 1 for name, tensor in published.items()}
    write(source, state_dict=published, state_dict_ema=average)
    name = 'layers.1.NC.0.mlp.fc1.bias'
    for options, expected in (
        ([], average[f'module.{name}']),
        (['--weights', 'ema'], average[f'module.{name}']),
        (['--weights', 'raw'], published[name]),
    ):
        convert(monkeypatch, source, target, *options)
        converted = torch.load(target, weights_only=True)['state_dict']
        assert torch.equal(converted['backbone.stages.1.blocks.0.ffn.layers.0.0.bias'], expected)
    write(source, state_dict=published)
    with pytest.raises(SystemExit, match=r"error: .*must hold 'state_dict_ema', but holds"):
        convert(monkeypatch, source, target, '--weights', 'ema')


def test_convolutions_become_linear_layers(published):
    converted, _ = convert_state_dict(published)
    attention = 'backbone.stages.0.reduction.attn.'
    old = published['layers.0.RC.attn.qkv.weight']
    assert old.ndim == 4 and torch.equal(converted[f'{attention}qkv.weight'], old[..., 0, 0])
    offsets, scales = (published[f'layers.0.RC.attn.sampling_{what}.2.weight'] for what in ('offsets', 'scales'))
    assert torch.equal(converted[f'{attention}predict.weight'], torch.cat([offsets, scales])[..., 0, 0])
    # those beside the attention stay convolutions
    assert converted['backbone.stages.0.reduction.convs.0.weight'].ndim == 4


def test_models_without_varied_sizes(plain):
    converted, dropped = convert_state_dict(plain)
    assert dropped == {}
    model = ViTAEv2('small')
    model.load_state_dict({name.removeprefix('backbone.'): tensor for name, tensor in converted.items()}, strict=True)
    assert torch.equal(model.stages[2].reduction.ffn.layers[0][0].weight, plain['layers.2.RC.attn.mlp.fc1.weight'])
    assert torch.equal(model.stages[0].reduction.norm2.bias, plain['layers.0.RC.attn.norm2.bias'])


def test_detectors_keep_their_other_parts(published):
    detector = {f'backbone.{name}': tensor for name, tensor in published.items() if not name.startswith('head.')}
    others = {'neck.fpn_convs.0.conv.weight', 'decode_head.conv_seg.weight'}
    detector.update(dict.fromkeys(others, torch.zeros(1)))
    converted, _ = convert_state_dict(detector)
    body, _ = convert_state_dict(published)
    assert converted.keys() == {*body, *others} - {'head.fc.weight', 'head.fc.bias'}


def test_a_missing_folder_is_named_first(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r'error: there is no folder .*nowhere to write x.pth to'):
        convert(monkeypatch, tmp_path / 'absent.pth', tmp_path / 'nowhere/x.pth')


@pytest.mark.parametrize(
    'name',
    [
        'layers.0.RC.gamma1',
        'layers.1.NC.0.attn.pos_embed',
        'layers.0.NC.0.PRM.convs.0.0.weight',
        'norm.weight',
        'head.fc.bias',
    ],
)
def test_unknown_names_fail(published, name):
    with pytest.raises(ValueError, match=f'{name}.*ViTAEv2|ViTAEv2.*{name}'):
        convert_state_dict({**published, name: torch.zeros(1)})


def test_foreign_files_fail():
    with pytest.raises(ValueError, match=r"1 of 1 names are not those of a ViTAEv2: \['conv1.weight'\]"):
        convert_state_dict({'conv1.weight': torch.zeros(1)})


def test_an_unconverted_file_is_named(published):
    with pytest.raises(ValueError, match=r'It is a published file: convert it with .*vitae2mm\.py'):
        ViTAEv2('vsa-small').load_state_dict(published)
