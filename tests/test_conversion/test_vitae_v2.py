"""Published files of ViTAEv2 and ViTAEv2*-VSA."""

import re

import pytest
import torch

from tests.test_conversion.published import tensors
from vil_mm.conversion.vitae_v2 import convert_state_dict
from vil_mm.models import ViTAEv2


@pytest.fixture(scope='module')
def published():
    return tensors('vitaev2_vsa/vitaev2_vsa_s_cls_224')


@pytest.fixture(scope='module')
def plain():
    """A published file of ViTAEv2, whose reduction cells hold attention, norms and perceptron in one module."""
    state = {}
    for name, tensor in ViTAEv2('small').state_dict().items():
        name = name.replace('stages.', 'layers.').replace('.blocks.', '.NC.').replace('.embed.', '.RC.')
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


def test_as_a_command(tiny, tmp_path, run_converter):
    source, target = tmp_path / 'model_best.pth.tar', tmp_path / 'vitae.pth'
    published, own, config = tiny('vitae_v2')
    index = {f'layers.{i}.RC.attn.relative_position_index': torch.zeros(2, 2) for i in range(4)}
    write(source, state_dict={**published, **index})
    output = run_converter('vitae2mm.py', source, target, *config)
    assert "of 'state_dict'" in output and 'entries of the file: optimizer\n' in output
    assert output.count('relative_position_index: derived') == 4
    checkpoint = torch.load(target, weights_only=True)
    expected = dict(arch='ViTAEv2_VSA_S', epoch=309, converted_from='model_best.pth.tar')
    assert checkpoint['meta'].items() >= expected.items() and checkpoint['state_dict'].keys() == own.keys()


def test_the_averaged_weights_are_preferred(tiny, tmp_path, run_converter):
    source, target = tmp_path / 'model_best.pth.tar', tmp_path / 'vitae.pth'
    name = 'layers.1.NC.0.mlp.fc1.bias'
    raw, _, config = tiny('vitae_v2')
    average = {f'module.{other}': tensor + 1 for other, tensor in raw.items()}
    write(source, state_dict=raw, state_dict_ema=average)
    for options, expected in (
        ([], average[f'module.{name}']),
        (['--weights', 'ema'], average[f'module.{name}']),
        (['--weights', 'raw'], raw[name]),
    ):
        run_converter('vitae2mm.py', source, target, *options, *config)
        converted = torch.load(target, weights_only=True)['state_dict']
        assert torch.equal(converted['backbone.stages.1.blocks.0.ffn.layers.0.0.bias'], expected)
    write(source, state_dict=raw)
    with pytest.raises(SystemExit, match=r"error: .*must hold 'state_dict_ema', but holds"):
        run_converter('vitae2mm.py', source, target, '--weights', 'ema')


def test_convolutions_become_linear_layers(published):
    converted, _ = convert_state_dict(published)
    attention = 'backbone.stages.0.embed.attn.'
    old = published['layers.0.RC.attn.qkv.weight']
    assert old.ndim == 4 and torch.equal(converted[f'{attention}qkv.weight'], old[..., 0, 0])
    offsets, scales = (published[f'layers.0.RC.attn.sampling_{what}.2.weight'] for what in ('offsets', 'scales'))
    assert torch.equal(converted[f'{attention}predict.weight'], torch.cat([offsets, scales])[..., 0, 0])
    # those beside the attention stay convolutions
    assert converted['backbone.stages.0.embed.convs.0.weight'].ndim == 4


def test_models_without_varied_sizes(plain):
    converted, dropped = convert_state_dict(plain)
    assert dropped == {}
    model = ViTAEv2('small')
    model.load_state_dict({name.removeprefix('backbone.'): tensor for name, tensor in converted.items()}, strict=True)
    assert torch.equal(model.stages[2].embed.ffn.layers[0][0].weight, plain['layers.2.RC.attn.mlp.fc1.weight'])
    assert torch.equal(model.stages[0].embed.norm2.bias, plain['layers.0.RC.attn.norm2.bias'])


def test_an_unconverted_file_is_named(published):
    with pytest.raises(ValueError, match=r'It is a published file: convert it with .*vitae2mm\.py'):
        ViTAEv2('vsa-small').load_state_dict(published)
