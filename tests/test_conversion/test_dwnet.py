"""The converter of published DWNet files (what it computes: see the goldens)."""

import json
import sys
from types import ModuleType

import pytest
import torch

from tests import goldens
from tests.conftest import run_tool
from vil_mm.conversion.dwnet import KEYS, convert_state_dict
from vil_mm.conversion.files import convert_file

CONVERTER = 'tools/model_converters/dwnet2mm.py'


@pytest.fixture(scope='module')
def published():
    """Names and shapes of a published model, each tensor of one value of its own."""
    case = json.loads((goldens.FOLDER / 'dwnet/dynamic_dwnet_tiny_cls_224.json').read_text())
    return {name: torch.tensor(float(i)).expand(shape) for i, (name, shape, _) in enumerate(case['state'])}


def test_as_a_command(published, tmp_path):
    """A classification file holds a settings object of yacs, which need not be installed."""
    module = sys.modules['yacs.config'] = ModuleType('yacs.config')
    sys.modules['yacs'] = ModuleType('yacs')
    try:
        exec('class CfgNode(dict):\n    pass', module.__dict__)
        module.CfgNode.__module__ = 'yacs.config'
        config = module.CfgNode(MODEL=module.CfgNode(NAME='dynamic_dwnet_tiny'))
        source, target = tmp_path / 'ckpt.pth', tmp_path / 'dwnet.pth'
        few = {name: tensor for name, tensor in published.items() if 'layers.0.blocks.0' in name or 'head' in name}
        torch.save(dict(model=few, optimizer={}, max_accuracy=81.8, epoch=299, config=config), source)
    finally:
        del sys.modules['yacs.config'], sys.modules['yacs']
    with pytest.raises(ValueError, match=r'holds yacs\.config\.CfgNode beside tensors .*--allow'):
        convert_file(source, target, convert_state_dict, KEYS, 'DWNet')
    assert not target.exists()
    output = run_tool(CONVERTER, source, target, '--allow', 'yacs.config.CfgNode').stdout
    assert 'what else the file holds: config, max_accuracy, optimizer' in output
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint['meta'] == dict(epoch=299, converted_from='ckpt.pth')
    assert len(checkpoint['state_dict']) == len(few)


def test_the_two_second_convolutions(published):
    converted, dropped = convert_state_dict({f'module.{name}': tensor for name, tensor in published.items()})
    assert not dropped and len(converted) == len(published)
    block, mixer = 'layers.1.blocks.1.attn2conv', 'backbone.stages.1.blocks.1.mixer'
    assert torch.equal(converted[f'{mixer}.conv2.weight'], published[f'{block}.conv2.weight'])
    expand = f'{mixer}.depthwise.image_kernels.expand.weight'
    assert torch.equal(converted[expand], published[f'{block}.conv.conv2.weight'])
    assert converted['head.fc.bias'] is published['head.bias']


def test_detectors_and_segmentors(published):
    """The names of other parts stay, norms of the outputs count as the backbone's."""
    body = {f'backbone.{name}': t for name, t in published.items() if not name.startswith(('norm.', 'head.'))}
    body['backbone.norm2.running_mean'] = torch.zeros(384)
    others = {
        name: torch.zeros(1)
        for name in ('neck.fpn_convs.0.conv.weight', 'roi_head.bbox_head.2.fc_cls.bias', 'decode_head.conv_seg.bias')
    }
    converted, dropped = convert_state_dict({**body, **others})
    assert not dropped and others.items() <= converted.items()
    assert len(converted) == len(body) + len(others)
    assert 'backbone.norm2.running_mean' in converted and 'backbone.stages.1.embed.reduction.weight' in converted


@pytest.mark.parametrize(
    'name',
    [
        'layers.0.blocks.0.attn2conv.conv3.weight',
        'layers.0.blocks.0.attn.qkv.weight',
        'layers.0.blocks.0.attn2conv.conv.conv2.scale',
        'backbone.norm.weight',
        'absolute_pos_embed',
    ],
)
def test_unknown_names_fail(published, name):
    with pytest.raises(ValueError, match='are not those of a DWNet'):
        convert_state_dict({**published, name: torch.zeros(1)})
    assert convert_state_dict(published)


def test_other_files_fail(tmp_path):
    torch.save(dict(net={}), tmp_path / 'vil.pth')
    with pytest.raises(ValueError, match=r"must hold 'model' or 'state_dict', but holds \['net'\]"):
        convert_file(tmp_path / 'vil.pth', tmp_path / 'out.pth', convert_state_dict, KEYS, 'DWNet')
