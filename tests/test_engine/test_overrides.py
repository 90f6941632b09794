"""Overrides of a config from the command line."""

import argparse
import re

import pytest
from mmengine.config import Config

from vil_mm.engine.overrides import add_override_argument, override

DIGITS = 'configs/vil/vil-nano_1xb64_digits.py'
MASK_RCNN = 'configs/vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes.py'


@pytest.fixture
def cfg():
    return Config.fromfile(DIGITS)


@pytest.mark.parametrize(
    'words, message',
    [
        (['optim_wrapper.=3'], r"'optim_wrapper\.=3' must be KEY=VALUE"),
        (['.optim_wrapper=3'], r'must be KEY=VALUE'),
        (['train_cfg.max_epochs'], r"'train_cfg\.max_epochs' must be KEY=VALUE"),
        (['a.b=1', 'a.b=2'], r"sets 'a\.b' and 'a\.b', of which one overrides the other"),
        (['a.b.c=1', 'a.b=2'], r"sets 'a\.b' and 'a\.b\.c'"),
        (['a=1', '--cfg-options', 'a=2'], r"sets 'a' and 'a'"),
    ],
)
def test_words_that_would_be_lost(words, message, capsys):
    parser = argparse.ArgumentParser()
    add_override_argument(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', *words])
    error = capsys.readouterr().err
    assert re.search(message, error), error


def test_words_are_read():
    parser = argparse.ArgumentParser()
    add_override_argument(parser)
    args = parser.parse_args(['--cfg-options', 'a.b=1', 'a.bc=[1,2]', '--cfg-options', 'd=x=y'])
    assert args.cfg_options == {'a.b': 1, 'a.bc': [1, 2], 'd': 'x=y'}


@pytest.mark.parametrize(
    'key, value, message',
    [
        # unknown keys, and the nearest known one
        ('optim_wraper.optimizer.lr', 0.1, r"no 'optim_wraper' in the config\. Did you mean 'optim_wrapper'\?"),
        ('lodad_from', 'a.pth', r"Did you mean 'load_from'\?"),
        ('strategy.type', 'FSDPStrategy', r"no 'strategy' in the config"),  # read by another runner only
        ('optim_wrapper.optimizr.lr', 0.1, r"optim_wrapper has no 'optimizr'\. Did you mean 'optimizer'\?"),
        ('optim_wrapper.paramwise_cfg.norm_decay_mul', 0.0, r"Did you mean 'norm_decay_mult'\?"),
        ('env_cfg.cudnn_benchmrk', True, r"env_cfg has no 'cudnn_benchmrk'\. Did you mean 'cudnn_benchmark'\?"),
        ('env_cfg.mp_cfg.opencv_threads', 1, r"env_cfg\.mp_cfg has no 'opencv_threads'"),
        ('auto_scale_lr.batch_size', 8, r"auto_scale_lr has no 'batch_size'\. Did you mean 'base_batch_size'\?"),
        ('default_hooks.checkpoint.intreval', 5, r"Did you mean 'interval'\?"),
        ('train_cfg.max_epoch', 5, r"train_cfg has no 'max_epoch'\. Did you mean 'max_epochs'\?"),
        # variables, and where the config copied them
        (
            'data_root',
            '/elsewhere',
            r"'data_root' is only a variable of the config\. Set where the config copied it: "
            r'train_dataloader\.dataset\.data_root=/elsewhere val_dataloader\.dataset\.data_root=/elsewhere '
            r'test_dataloader\.dataset\.data_root=/elsewhere',
        ),
        ('dataset_type', 'CustomDataset', r'train_dataloader\.dataset\.type=CustomDataset'),
        ('train_pipeline.1.crop_size', 28, r'train_dataloader\.dataset\.pipeline\.1\.crop_size=28'),
        ('vis_backends', [], r'visualizer\.vis_backends=\[\]'),
        # options of their own
        ('launcher', 'slurm', r'launcher has no effect: use --launcher'),
        ('head.num_classes', 5, r'it is a setting of the model: set model\.head\.num_classes'),
        # paths that lead nowhere
        ('param_scheduler.end', 5, r"param_scheduler is a list, so 'end' must be 0 to 1"),
        ('param_scheduler.2.end', 5, r"param_scheduler is a list, so '2' must be 0 to 1"),
        ('optim_wrapper.optimizer.betas.0', 0.8, r'optim_wrapper\.optimizer\.betas is \(0\.9, 0\.999\) and has no'),
        ('log_level.x', 1, r"log_level is 'INFO' and has no 'x'"),
        # words that would count as true
        ('default_hooks.visualization.enable', 'no', r'enable=no must be True or False'),
        ('optim_wrapper.optimizer.lr', '1e-3x', r'lr=1e-3x must be a number'),
        # words for whole parts
        ('optim_wrapper.optimizer', 'SGD', r'a dict by a word: set optim_wrapper\.optimizer\.type=SGD'),
        ('model.backbone', 'vil_mm.L2ViT', r'set model\.backbone\.type=vil_mm\.L2ViT'),
    ],
)
def test_overrides_without_effect(cfg, key, value, message):
    before = cfg.to_dict()
    with pytest.raises(ValueError, match=message):
        override(cfg, {'train_cfg.max_epochs': 3, key: value})
    assert cfg.to_dict() == before


@pytest.mark.parametrize(
    'key, value',
    [
        ('optim_wrapper.optimizer.lr', 0.1),
        ('optim_wrapper.accumulative_counts', 4),
        ('optim_wrapper.clip_grad', None),
        ('optim_wrapper.paramwise_cfg.bias_decay_mult', 0.0),
        ('model.backbone.with_cp', True),
        ('train_dataloader.dataset.indices', 10),
        ('train_dataloader.drop_last', True),
        ('train_dataloader.dataset.pipeline.1.padding', 4),
        ('param_scheduler.0.end', 5),
        ('load_from', 'a.pth'),
        ('randomness.seed', 1),
        ('randomness.diff_rank_seed', True),
        ('find_unused_parameters', True),
        ('default_hooks.checkpoint.save_optimizer', False),
        ('train_cfg.val_begin', 2),
        ('visualizer.save_dir', 'x'),
        ('resume', True),
        ('compile', True),
    ],
)
def test_overrides_with_effect(cfg, key, value):
    override(cfg, {key: value})
    for name in key.split('.'):
        cfg = cfg[int(name) if name.isdigit() else name]
    assert cfg == value


def test_parts_of_what_is_none_or_missing(cfg):
    override(cfg, {'model_wrapper_cfg.find_unused_parameters': True, 'optim_wrapper.clip_grad': None})
    assert cfg.model_wrapper_cfg == dict(find_unused_parameters=True)
    with pytest.raises(TypeError, match='You may set `_delete_=True`'):
        override(cfg, {'optim_wrapper.clip_grad.max_norm': 2.0})
    override(cfg, {'optim_wrapper.clip_grad._delete_': True, 'optim_wrapper.clip_grad.max_norm': 2.0})
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=2.0)


def test_settings_of_a_detector():
    cfg = Config.fromfile(MASK_RCNN)
    with pytest.raises(ValueError, match=r"model\.test_cfg\.rcnn has no 'score_th'\. Did you mean 'score_thr'\?"):
        override(cfg, {'model.test_cfg.rcnn.score_th': 0.5})
    with pytest.raises(ValueError, match=r"no 'score_threshold'\. Did you mean 'score_thr'\?"):
        override(cfg, {'model.test_cfg.rcnn.score_threshold': 0.5})
    override(cfg, {'model.test_cfg.rcnn.score_thr': 0.5, 'model.test_cfg.rcnn.min_bbox_size': 2})
    assert cfg.model.test_cfg.rcnn.score_thr == 0.5
    # the model has its own
    with pytest.raises(ValueError, match=r'set model\.data_preprocessor\.pad_size_divisor'):
        override(cfg, {'data_preprocessor.pad_size_divisor': 1})


def test_keys_of_another_runner():
    cfg = Config.fromfile('configs/vil/vil-small-fsdp_8xb128_in1k.py')
    override(cfg, {'strategy.type': 'DDPStrategy'})
    assert cfg.strategy.type == 'DDPStrategy'


def test_custom_imports_are_imported(cfg, tmp_path, monkeypatch):
    (tmp_path / 'own_module_of_the_test.py').write_text('raise KeyError("imported")')
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyError, match='imported'):
        override(cfg, {'custom_imports.imports': ['own_module_of_the_test']})


def test_pure_python_config(tmp_path):
    path = tmp_path / 'pure.py'
    path.write_text(
        'from torch.optim import AdamW\n'
        "data_root = 'data'\n"
        'model = dict()\n'
        'train_dataloader = dict(dataset=dict(data_root=data_root))\n'
        'optim_wrapper = dict(optimizer=dict(type=AdamW, lr=0.1))\n'
    )
    cfg = Config.fromfile(path)
    with pytest.raises(ValueError, match=r'train_dataloader\.dataset\.data_root=/x$'):
        override(cfg, {'data_root': '/x'})
    override(cfg, {'optim_wrapper.optimizer.lr': 0.2})
    assert cfg.optim_wrapper.optimizer.lr == 0.2 and cfg.optim_wrapper.optimizer.type.__name__ == 'AdamW'


def test_copies_of_a_number():
    """Equal numbers of other names are not taken for copies."""
    cfg = Config(dict(classes=10, model=dict(head=dict(classes=10, hidden=10)), train_dataloader=dict(batch_size=10)))
    with pytest.raises(ValueError, match=r'Set where the config copied it: model\.head\.classes=5$'):
        override(cfg, dict(classes=5))
    cfg.model.head.classes = 9
    with pytest.raises(ValueError, match=r"'classes' is only a variable of the config, which nothing reads$"):
        override(cfg, dict(classes=5))


def test_second_data_preprocessor():
    cfg = Config(dict(model=dict(type='A'), data_preprocessor=dict(mean=[1.0])))
    with pytest.raises(ValueError, match=r'would replace all of data_preprocessor: set data_preprocessor\.to_rgb'):
        override(cfg, {'model.data_preprocessor.to_rgb': True})
    override(cfg, {'data_preprocessor.to_rgb': True})
    assert cfg.data_preprocessor == dict(mean=[1.0], to_rgb=True)


COSINE = 'param_scheduler.1'


@pytest.mark.parametrize(
    'options, message',
    [
        (
            {'train_cfg.max_epochs': 5},
            rf'--cfg-options train_cfg\.max_epochs=5: {COSINE} \(CosineAnnealingLR\) would end at epoch 15, but stops '
            rf'at 5\. Add {COSINE}\.end=5 {COSINE}\.T_max=5 or, if this is intended, '
            rf'{COSINE}\.end=15 {COSINE}\.T_max=15$',
        ),
        ({'train_cfg.max_epochs': 30}, rf'is over after epoch 15 of 30\. Add {COSINE}\.end=30 {COSINE}\.T_max=30 or'),
        ({'train_cfg.max_epochs': 5, f'{COSINE}.end': 5}, rf'Add {COSINE}\.T_max=5 or, if .*, {COSINE}\.T_max=15$'),
        (
            {'optim_wrapper.optimizer.lr': 1e-6},
            rf'has eta_min=1e-05, .* Add {COSINE}\.eta_min=\.\.\. or, if this is inten',
        ),
    ],
)
def test_schedule_that_no_longer_ends_with_the_training(options, message, cfg):
    with pytest.raises(ValueError, match=message):
        override(cfg, options)


@pytest.mark.parametrize(
    'options',
    [
        {'train_cfg.max_epochs': 5, f'{COSINE}.end': 5, f'{COSINE}.T_max': 5},
        {'train_cfg.max_epochs': 5, f'{COSINE}.end': 15, f'{COSINE}.T_max': 15},
        {f'{COSINE}.T_max': 7},
        {f'{COSINE}.end': 7},
        {'train_cfg.max_epochs': 16},
        {'train_cfg.max_epochs': 5, 'param_scheduler': None},
        {'param_scheduler.0.end': 500},  # iterations, of which nobody knows how many there are
    ],
)
def test_schedule_that_still_fits_or_is_named(options, cfg):
    override(cfg, options)


def test_a_schedule_that_did_not_fit_before_may_stay(cfg):
    cfg.train_cfg.max_epochs = 5
    override(cfg, {'train_cfg.max_epochs': 6})
