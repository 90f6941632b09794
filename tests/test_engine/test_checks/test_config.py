"""General settings of a config, and that every config of the repository passes."""

import pytest
from mmengine.config import Config

from tests.test_configs.helpers import PATHS, load
from vil_mm.engine.checks import check_config
from vil_mm.engine.checks.schedule import find_mismatches


def plain(**others):
    return Config(dict(default_scope='mmengine', model=dict(type='BaseDataPreprocessor')) | others)


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(log_level='LOUD'), r"log_level='LOUD' must be DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        (dict(log_level='info'), r"log_level='info' must be"),
        (dict(randomness=dict(seed='abc')), r"randomness\.seed='abc' must be a number"),
        (dict(default_hooks=dict(logger=dict(type='LoggerHook', interval='one'))), r"logger\.interval='one' must be a"),
        (
            dict(
                model=dict(
                    type='BaseDataPreprocessor', test_cfg=dict(mode='slide', crop_size=(32, 32), stride=(32, 33))
                )
            ),
            r'stride=\(32, 33\) must be',
        ),
        (dict(default_scope='mmdett'), r"default_scope='mmdett' is not installed: did you mean 'mmdet'\?"),
    ],
)
@pytest.mark.parametrize('training', [True, False])
def test_general_settings(change, message, training):
    with pytest.raises(ValueError, match=message):
        check_config(plain(**change), training)
    check_config(plain(log_level=20), training)
    check_config(plain(log_level='DEBUG'), training)


@pytest.mark.parametrize('name, training', [('train', True), ('val', True), ('test', False)])
@pytest.mark.parametrize('key', ['batch_size', 'num_workers'])
def test_numbers_of_data_loaders(name, training, key):
    cfg = plain(**{f'{name}_dataloader': {key: 'many'}})
    with pytest.raises(ValueError, match=rf"{name}_dataloader\.{key}='many' must be a number"):
        check_config(cfg, training)
    check_config(cfg, not training)


@pytest.mark.parametrize(
    'hook, message',
    [
        (dict(save_best='FID'), r"default_hooks\.checkpoint=.*'FID'.*: Cannot infer the rule for key FID"),
        (dict(save_best='FID', rule='lower'), r'rule must be greater, less or None, but got lower'),
        (dict(save_best=True), r'"save_best" should be a str or list of str or None'),
    ],
)
def test_settings_of_the_best_checkpoint(hook, message):
    cfg = plain(default_hooks=dict(checkpoint=dict(hook, type='CheckpointHook')))
    with pytest.raises(ValueError, match=message):
        check_config(cfg, training=True)
    check_config(cfg, training=False)
    for fits in (dict(save_best='FID', rule='less'), dict(save_best='auto'), dict(save_best=['mIoU', 'a/loss'])):
        check_config(plain(default_hooks=dict(checkpoint=dict(fits, type='CheckpointHook'))), training=True)


def test_every_config_passes():
    assert len(PATHS) >= 180
    for name in PATHS:
        cfg = load(name)
        check_config(cfg, training=True)
        assert find_mismatches(cfg, epoch_length=10000) == [], name
