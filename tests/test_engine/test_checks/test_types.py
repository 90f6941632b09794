"""Types in configs that are not registered."""

import re
from types import SimpleNamespace

import pytest
from mmengine.config import Config

from tests.test_engine.tiny import config
from vil_mm.engine import launch
from vil_mm.engine.checks.types import check_types

DIGITS = 'configs/vil/vil-nano_1xb64_digits.py'
MASK_RCNN = 'configs/vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes.py'
CONFIGS = {}


def read(path):
    CONFIGS.setdefault(path, Config.fromfile(path))
    return Config(CONFIGS[path].to_dict())


@pytest.mark.parametrize(
    'key, value, message',
    [
        ('model.type', 'ImageClasifier', "did you mean 'ImageClassifier'?"),
        ('custom_hooks', [dict(type='EMAHok')], "custom_hooks.0.type='EMAHok' is not registered as a hook: "),
        ('default_hooks.logger.type', 'loggerhook', "did you mean 'LoggerHook'?"),
        ('default_hooks.early', dict(patience=3), 'default_hooks.early has no type: default_hooks.early.type must'),
        ('visualizer.type', 'UniversalVisualiser', "as a visualizer: did you mean 'UniversalVisualizer'?"),
        ('visualizer.vis_backends.0.type', 'Tensorboard', "did you mean 'TensorboardVisBackend'?"),
        ('custom_hooks', 'EMAHook', "custom_hooks='EMAHook' must be a dict, or a list of dicts, not a word"),
        ('param_scheduler', 'cosine', "param_scheduler='cosine' must be a dict, or a list of dicts, not a word"),
        ('runner_type', 'FlexiRunner', "runner_type='FlexiRunner' is not registered as a runner: did you mean"),
        ('model.backbone.init_cfg', 'none', "model.backbone.init_cfg='none' must be a dict, such as"),
        ('model.backbone.init_cfg', dict(checkpoint='a.pth'), 'set model.backbone.init_cfg.type=Pretrained too'),
        (
            'model.backbone.init_cfg',
            [dict(type='Pretraind')],
            "init_cfg.type='Pretraind' is not registered as a",
        ),
        ('optim_wrapper.type', 'AmpOptimWraper', "did you mean 'AmpOptimWrapper'?"),
        ('optim_wrapper.constructor', 'LayerDecay', "optim_wrapper.constructor='LayerDecay' is not registered as an"),
        ('optim_wrapper.optimizer.type', 'sdg', "optim_wrapper.optimizer.type='sdg' is not registered as an optimizer"),
        ('optim_wrapper.optimizer.type', 'adamw', "did you mean 'AdamW'?"),
        ('param_scheduler.1.type', 'CosineLR', 'param_scheduler.1.type='),
        ('train_cfg.type', 'EpochTrainLoop', "train_cfg.type='EpochTrainLoop' is not registered as a loop"),
        ('train_dataloader.sampler.type', 'DefaultSampelr', "did you mean 'DefaultSampler'?"),
        ('train_dataloader.dataset.type', 'CocoDataset', "did you mean 'mmdet.CocoDataset'?"),
        ('train_dataloader.dataset.pipeline.0.type', 'LoadImage', 'train_dataloader.dataset.pipeline.0.type='),
        ('train_dataloader.collate_fn', dict(type='default_colate'), "did you mean 'default_collate'?"),
        ('val_evaluator.type', 'Acuracy', "as a metric: did you mean 'Accuracy'?"),
        ('val_evaluator', dict(_delete_=True, metrics=[dict(type='Acuracy')]), 'val_evaluator.metrics.0.type='),
    ],
)
def test_types_of_a_training(key, value, message):
    import mmdet.datasets  # noqa: F401

    cfg = read(DIGITS)
    check_types(cfg, training=True)
    cfg.merge_from_dict({key: value})
    with pytest.raises(ValueError, match=re.escape(message)):
        check_types(cfg, training=True)
    if key.split('.')[0] in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'val_evaluator'):
        check_types(cfg, training=False)  # a test uses none of them


@pytest.mark.parametrize('name', ['test_evaluator', 'test_dataloader.dataset', 'test_cfg'])
def test_types_of_a_test(name):
    cfg = read(DIGITS)
    cfg.merge_from_dict({f'{name}.type': 'Misspelt'})
    with pytest.raises(ValueError, match=re.escape(f"{name}.type='Misspelt' is not registered as a")):
        check_types(cfg, training=False)
    check_types(cfg, training=True)


def test_datasets_and_transforms_within_others():
    cfg = read(MASK_RCNN)
    inner = dict(cfg.train_dataloader.dataset)
    steps = [dict(type='RandomApply', transforms=[dict(type='RandomFlp', prob=0.5)])]
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=dict(inner, pipeline=steps))
    key = r"train_dataloader\.dataset\.dataset\.pipeline\.0\.transforms\.0\.type='RandomFlp'"
    with pytest.raises(ValueError, match=rf"{key} is not registered as a transform: did you mean 'RandomFlip'\?"):
        check_types(cfg, training=True)
    cfg.train_dataloader.dataset = dict(type='ConcatDataset', datasets=[dict(inner, type='CocoDatset')])
    with pytest.raises(ValueError, match=r"dataset\.datasets\.0\.type='CocoDatset'.*did you mean 'CocoDataset'\?"):
        check_types(cfg, training=True)


def test_what_cannot_be_known_passes():
    """Types that other libraries or the model's own classes read, and objects in place of configs."""
    cfg = read(MASK_RCNN)
    steps = [dict(type='Albu', transforms=[dict(type='ShiftScaleRotate')])]
    cfg.train_dataloader.dataset.pipeline = steps
    cfg.model.test_cfg.rcnn.nms.type = 'own_nms'
    cfg.custom_hooks = [SimpleNamespace(), dict(type='mmengine.hooks.EMAHook')]
    cfg.visualizer.pop('type')
    cfg.default_hooks.timer = None
    cfg.param_scheduler = dict(generator=dict(type='PolyLR'))
    check_types(cfg, training=True)


def test_pure_python_types(tmp_path):
    path = tmp_path / 'pure.py'
    path.write_text(
        'from mmengine.hooks import EMAHook\nfrom torch.optim import SGD\n'
        'custom_hooks = [dict(type=EMAHook)]\noptim_wrapper = dict(optimizer=dict(type=SGD, lr=0.1))\n'
    )
    check_types(Config.fromfile(path), training=True)


def test_types_that_the_runner_does_not_find(tmp_path):
    """The error of mmengine's registry is worded with the key, also within the model, where nothing is looked up."""
    cfg = config(tmp_path / 'hook', custom_hooks=[dict(type='EMAHok')])
    with pytest.raises(ValueError, match=r"custom_hooks\.0\.type='EMAHok' is not registered as a hook: .*'EMAHook'\?"):
        launch.build_runner(cfg)
    cfg = read(DIGITS)
    cfg.model.head.loss.type = 'LabelSmoothLos'
    cfg.launcher, cfg.work_dir = 'none', str(tmp_path / 'model')
    with pytest.raises(ValueError, match=r"model\.head\.loss\.type='LabelSmoothLos' is not.*mean 'LabelSmoothLoss'\?"):
        launch.build_runner(cfg)
