"""Published files of DWNet."""

import sys
from types import ModuleType

import pytest
import torch

from tests.test_conversion.published import tensors
from vil_mm.conversion.dwnet import convert_state_dict


@pytest.fixture(scope='module')
def published():
    return tensors('dwnet/dynamic_dwnet_tiny_cls_224')


def test_as_a_command(tiny, tmp_path, run_converter):
    """A classification file holds a settings object of yacs, which need not be installed."""
    published, own, config = tiny('dwnet')
    module = sys.modules['yacs.config'] = ModuleType('yacs.config')
    sys.modules['yacs'] = ModuleType('yacs')
    try:
        exec('class CfgNode(dict):\n    pass', module.__dict__)
        module.CfgNode.__module__ = 'yacs.config'
        settings = module.CfgNode(MODEL=module.CfgNode(NAME='dynamic_dwnet_tiny'))
        source, target = tmp_path / 'ckpt.pth', tmp_path / 'dwnet.pth'
        torch.save(dict(model=published, optimizer={}, max_accuracy=81.8, epoch=299, config=settings), source)
    finally:
        del sys.modules['yacs.config'], sys.modules['yacs']
    with pytest.raises(SystemExit, match=r'error: .*holds yacs\.config\.CfgNode beside tensors .*--allow'):
        run_converter('dwnet2mm.py', source, target)
    assert not target.exists()
    output = run_converter('dwnet2mm.py', source, target, '--allow', 'yacs.config.CfgNode', *config)
    assert 'the other entries of the file: config, max_accuracy, optimizer' in output
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint['meta'].items() >= dict(epoch=299, converted_from='ckpt.pth').items()
    assert checkpoint['state_dict'].keys() == own.keys()


def test_the_two_second_convolutions(published):
    converted, dropped = convert_state_dict(published)
    assert not dropped and len(converted) == len(published)
    block, mixer = 'layers.1.blocks.1.attn2conv', 'backbone.stages.1.blocks.1.mixer'
    assert torch.equal(converted[f'{mixer}.conv2.weight'], published[f'{block}.conv2.weight'])
    expand = f'{mixer}.depthwise.image_kernels.expand.weight'
    assert torch.equal(converted[expand], published[f'{block}.conv.conv2.weight'])


def test_patch_merging_belongs_to_the_next_stage(published):
    converted, _ = convert_state_dict(published)
    merging = converted['backbone.stages.1.embed.reduction.weight']
    assert torch.equal(merging, published['layers.0.downsample.reduction.weight'])


def test_norms_of_outputs(published):
    """Those of a detector are the backbone's."""
    body = {f'backbone.{name}': t for name, t in published.items() if not name.startswith(('norm.', 'head.'))}
    converted, _ = convert_state_dict({**body, 'backbone.norm2.running_mean': torch.zeros(384)})
    assert 'backbone.norm2.running_mean' in converted
