"""Names of settings that nothing reads."""

import re

import pytest

from tests.test_engine.test_checks.test_config import plain
from vil_mm.engine.checks import check_config


@pytest.mark.parametrize(
    'settings, message',
    [
        (
            dict(custom_hook=[dict(type='EMAHook')]),
            "custom_hook has no effect: nothing reads it. Did you mean 'custom_hooks'?",
        ),
        (dict(param_schedulers=[]), "Did you mean 'param_scheduler'?"),
        (dict(auto_scale_LR=dict()), "Did you mean 'auto_scale_lr'?"),
        (
            dict(optim_wrapper=dict(paramwise_cfg=dict(norm_decay=0.0))),
            "optim_wrapper.paramwise_cfg.norm_decay has no effect: did you mean 'norm_decay_mult'?",
        ),
    ],
)
def test_misspelt_settings(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_config(plain(**settings), training=True)


@pytest.mark.parametrize(
    'settings',
    [
        # variables from which settings are made, or of the user's own
        dict(custom_hook=dict(type='EMAHook'), custom_hooks=[dict(type='EMAHook')]),
        dict(train_pipeline=[], dataset_type='CocoDataset', data_root='data', backend_args=None, file_client_args={}),
        dict(optim_wrapper=dict(optimizer=dict(type='SGD', lr=1), paramwise_cfg=dict(norm_decay_mult=0.0))),
        dict(optim_wrapper=dict(constructor='vil_mm.LayerDecayConstructor', paramwise_cfg=dict(own=1))),
    ],
)
def test_variables_pass(settings):
    check_config(plain(**settings), training=False)
