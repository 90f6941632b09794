"""Settings of the optimizer that have no effect or no valid value."""

import re

import pytest
import torch
from mmengine.config import Config

from vil_mm.engine.checks.optimizer import check_optimizer, unmatched_keys

ADAMW = dict(type='AdamW', lr=0.1, betas=(0.9, 0.999), weight_decay=0.05)


def check(optimizer=ADAMW, **others):
    check_optimizer(Config(dict(default_scope='mmengine', optim_wrapper=dict(optimizer=optimizer, **others))))


@pytest.mark.parametrize(
    'optimizer, message',
    [
        ('SGD', "optim_wrapper.optimizer='SGD' must be a dict: set optim_wrapper.optimizer.type=SGD"),
        (None, "optim_wrapper.optimizer=None must be a dict, such as dict(type='AdamW', lr=0.001)"),
        (dict(ADAMW, lr='high'), "optim_wrapper.optimizer.lr='high' is refused by AdamW: "),
        (dict(ADAMW, lr=-1.0), 'optim_wrapper.optimizer.lr=-1.0 is refused by AdamW: Invalid learning rate: -1.0'),
        (dict(ADAMW, betas=0.9), 'optim_wrapper.optimizer.betas=0.9 is refused by AdamW: '),
        (dict(ADAMW, betas=0.9), '(default (0.9, 0.999))'),
        (dict(ADAMW, wieght_decay=0.1), "no setting of AdamW: did you mean 'weight_decay'?"),
        (dict(ADAMW, type='SGD'), 'optim_wrapper.optimizer.betas is no setting of SGD: '),
        (dict(ADAMW, type='SGD'), '_delete_=True'),
        (dict(ADAMW, type=torch.optim.SGD), 'is no setting of SGD'),
        # the nesterov momentum alone is refused, but so is either of them alone
        (dict(type='SGD', lr=0.1, nesterov=True), 'optim_wrapper.optimizer.nesterov=True is refused by SGD: Nesterov'),
    ],
)
def test_settings_of_the_optimizer(optimizer, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(optimizer)


@pytest.mark.parametrize(
    'optimizer',
    [
        ADAMW,
        dict(type='SGD', lr=0.1, momentum=0.9, nesterov=True),
        dict(type='Muon', lr=0.1),
        dict(type='Unknown', lr='high'),
        dict(type='ZeroRedundancyOptimizer', optimizer_class='AdamW'),
        dict(type='LBFGS'),
    ],
)
def test_optimizers_that_pass(optimizer):
    check(optimizer)


@pytest.mark.parametrize(
    'custom_keys, message',
    [
        ({'norm': 0.0}, "custom_keys['norm']=0.0 must be a dict, such as dict(decay_mult=0.0)"),
        ({'norm': dict(decay_mul=0.0)}, "custom_keys['norm'] has no 'decay_mul': did you mean 'decay_mult'?"),
        (
            {'head': dict(fc=dict(lr_mult=2.0))},
            "a name with dots, such as 'head.fc', cannot be set on the command line",
        ),
    ],
)
def test_settings_of_custom_keys(custom_keys, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check(paramwise_cfg=dict(custom_keys=custom_keys))
    check(paramwise_cfg=dict(custom_keys={'norm': dict(lr_mult=0.1, decay_mult=0.0, lr=0.1, own=1)}))


NAMES = ['backbone.stages.0.blocks.0.norm1.weight', 'backbone.stages.0.attn.relative_bias', 'head.fc.bias']


@pytest.mark.parametrize(
    'key, near',
    [
        ('backbone.layers', 'backbone.stages'),
        ('relativ_bias', 'relative_bias'),
        ('head.fc.biass', 'head.fc.bias'),
        ('bakcbone', 'backbone'),
        ('zzz', None),
    ],
)
def test_unmatched_keys(key, near):
    assert unmatched_keys([key, 'norm', 'head.fc'], NAMES) == {key: near}


def test_keys_that_recipes_name_for_all_models():
    assert unmatched_keys(['global_tokens', 'position_embed', 'relative_position_bias', '.fc.'], NAMES) == {}
