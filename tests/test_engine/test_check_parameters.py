"""The tensors of a model against those of the checkpoint that a run loads."""

import logging

import pytest
import torch
from mmengine.runner import Runner
from torch import nn

from vil_mm.engine import CheckParametersHook
from vil_mm.models.layers import CheckpointError

SOUND = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).state_dict()


def load(state_dict, testing=True, inner=True, **kwargs):
    runner = Runner.__new__(Runner)
    runner.model, runner._load_from = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), 'a.pth'
    runner._resume = False
    runner.logger = logging.getLogger('test_check_parameters')
    hook = CheckParametersHook(**kwargs)
    checkpoint = dict(state_dict=state_dict) if inner else state_dict
    hook.after_load_checkpoint(runner, checkpoint)
    if inner:
        del checkpoint['state_dict']  # as FlexibleRunner does
    (hook.before_test if testing else hook.before_train)(runner)


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('inner', [False, True])
def test_whole_checkpoints(prefix, inner):
    state = {prefix + name: tensor for name, tensor in SOUND.items()}
    load(state, inner=inner)
    del state[f'{prefix}1.num_batches_tracked']  # as in the files of early versions of PyTorch
    load(state, inner=inner)


@pytest.mark.parametrize(
    'change, message',
    [
        ({'1.weight': None}, r'it lacks 1 tensors \(1\.weight\)\. Use the config that it was trained with'),
        ({'1.running_var': None}, r'it lacks 1 tensors \(1\.running_var\)'),
        ({'0.weight': torch.zeros(3, 2)}, r'0\.weight, which has shape \(3, 2\), must have \(2, 2\)'),
        ({'0.weight': torch.zeros(2, 2).int()}, r'0\.weight, which holds torch\.int32, must hold floating-point'),
        ({'2.weight': torch.zeros(2)}, r'it also holds 1 tensors \(2\.weight\)'),
        ({'0.bias': torch.tensor([0, torch.nan])}, r'1 of 2 values of 0\.bias are not finite'),
    ],
)
def test_tests_need_all_tensors(change, message):
    state = {name: tensor for name, tensor in {**SOUND, **change}.items() if tensor is not None}
    with pytest.raises(CheckpointError, match=rf'a\.pth .*{message}'):
        load(state)
    load(state, testing=False)


def test_parts_that_need_not_fit():
    state = {'0.weight': SOUND['0.weight'], '0.bias': torch.zeros(7), '1.extra': torch.zeros(1)}
    load(state, allow_partial=['1', '0.bias'])
    with pytest.raises(CheckpointError, match=r'has other shapes or types for 1 tensors \(0\.bias, which'):
        load(state, allow_partial=['1'])
    with pytest.raises(ValueError, match=r'--allow-partial head: neither the model nor a\.pth has'):
        load(state, allow_partial=['1', 'head'])


def test_prefixes_are_named():
    with pytest.raises(CheckpointError, match=r"Its names begin with 'net\.': save it without"):
        load({f'net.{name}': tensor for name, tensor in SOUND.items()})
    with pytest.raises(CheckpointError, match=r"Its names lack '0\.': is it a part of the model alone\?"):
        load({'weight': torch.zeros(2, 2), 'bias': torch.zeros(2)})
    with pytest.raises(CheckpointError, match=r'convert it first with tools/model_converters/vil2mm\.py'):
        load({'layer1.0.proj.weight': torch.zeros(2, 2)})


def test_training_says_what_it_starts_from(caplog):
    with caplog.at_level('INFO'):
        load({'0.bias': torch.zeros(2), '0.weight': torch.zeros(7), 'x': torch.zeros(1)}, testing=False)
    assert caplog.messages[-1] == (
        'a.pth: 1 tensors loaded, 1 skipped, because they do not fit (0.weight), 4 not in the checkpoint (1.weight, '
        '1.bias, 1.running_mean, ...), 1 of the checkpoint left over (x)'
    )
    with pytest.raises(CheckpointError, match=r'a\.pth holds no parameter of the model, such as 0\.weight, but others'):
        load({'net.0.bias': torch.zeros(2)}, testing=False)


@pytest.mark.parametrize(
    'checkpoint, message',
    [
        (dict(state_dict=None), r"must hold tensors by name under 'state_dict', but holds None there"),
        (dict(state_dict=[1]), r'but holds a value of type list there'),
        (dict(state_dict={}), r"holds no tensors under 'state_dict'"),
        (dict(state_dict={3: torch.ones(1)}), r"by name under 'state_dict', but 3 is a tensor of shape \(1,\)"),
        (dict(model=SOUND, ema=SOUND), r"but 'model' is a dict of '0\.weight', .*convert it first"),
        (dict(state_dict={'a': torch.ones(1).to_sparse()}), r"must hold plain tensors, but 'a' is sparse"),
        (dict(state_dict={'a': torch.ones(1, device='meta')}), r"'a' is on the meta device"),
    ],
)
@pytest.mark.parametrize('testing', [True, False])
def test_what_is_no_state_dict(checkpoint, message, testing):
    with pytest.raises(CheckpointError, match=rf'a\.pth .*{message}'):
        load(checkpoint, testing, inner=False)
