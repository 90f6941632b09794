"""Parameters of a tested model against those of its checkpoint."""

import pytest
from mmengine.runner import Runner
from torch import nn

from tests.test_engine.test_check_classes import Loop
from vil_mm.engine import CheckParametersHook


def load(checkpoint, testing=True):
    runner = Runner.__new__(Runner)
    runner.model, runner._load_from = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), 'a.pth'
    runner._test_loop = Loop(None) if testing else {}
    CheckParametersHook().after_load_checkpoint(runner, checkpoint)


NAMES = ('0.weight', '0.bias', '1.weight', '1.bias')


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('inner', [False, True])
def test_missing_parameters(prefix, inner):
    state = {f'{prefix}{name}': None for name in NAMES}
    load(dict(state_dict=state) if inner else state)
    state.pop(f'{prefix}1.weight')
    with pytest.raises(ValueError, match=r'a\.pth lacks 1 parameters of the model, such as 1\.weight: test it with'):
        load(dict(state_dict=state) if inner else state)
    load(dict(state_dict=state), testing=False)


def test_training_from_other_parameters():
    load(dict(state_dict={'0.bias': None}), testing=False)
    for other in ({'net.0.bias': None}, {}):
        with pytest.raises(ValueError, match=r'a\.pth holds no parameter of the model, such as 0\.weight, but others'):
            load(dict(state_dict=other), testing=False)
