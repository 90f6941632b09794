"""What single options of the tools do to a config."""

import sys

import pytest
from mmengine.config import Config

from vil_mm.engine import options
from vil_mm.registry import innermost


def test_no_validation():
    cfg = Config.fromfile('configs/vil/vil-small_8xb128_in1k.py')
    options.disable_validation(cfg)
    assert (cfg.val_cfg, cfg.val_dataloader, cfg.val_evaluator) == (None, None, None)
    assert cfg.default_hooks.checkpoint.save_best is None and cfg.test_dataloader


def test_tensorboard_beside_what_logs_already(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboard', sys)  # any module
    local, ours = dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')
    for visualizer in (dict(type='UniversalVisualizer', vis_backends=[local]), dict(type='UniversalVisualizer')):
        cfg = Config(dict(visualizer=visualizer))
        for _ in range(2):
            options.enable_tensorboard(cfg)
            assert cfg.visualizer == dict(type='UniversalVisualizer', vis_backends=[local, ours])
    cfg = Config({})
    options.enable_tensorboard(cfg)
    assert cfg.visualizer == dict(type='Visualizer', vis_backends=[local, ours])


def test_tensorboard_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tensorboard', None)
    with pytest.raises(
        ImportError, match=r'tensorboard is not installed. Install it with: pip install "vil_mm\[tensor'
    ):
        options.enable_tensorboard(Config({}))


def test_mixed_precision_in_tests(monkeypatch):
    monkeypatch.setattr(options, 'is_cuda_available', lambda: False)
    mask_rcnn = dict(model=dict(type='MaskRCNN', roi_head=dict(mask_head=dict())))
    with pytest.raises(ValueError, match=r"--amp needs a GPU for MaskRCNN: mmcv's RoIAlign"):
        options.enable_test_amp(Config(mask_rcnn))
    monkeypatch.setattr(options, 'is_cuda_available', lambda: True)
    cfg = Config(dict(mask_rcnn, test_cfg=dict(type='TestLoop')))
    options.enable_test_amp(cfg)
    assert cfg.test_cfg == dict(type='TestLoop', fp16=True)


def test_views_of_the_config():
    """``tta_model`` and ``tta_pipeline`` are used if the config has them."""
    pipeline = [dict(type='LoadImageFromFile'), dict(type='PackDetInputs', meta_keys=('img_id',))]
    own = dict(
        default_scope='mmdet', model=dict(type='RetinaNet'), test_dataloader=dict(dataset=dict(pipeline=pipeline))
    )
    cfg = Config(own)
    options.enable_tta(cfg)
    assert cfg.model.module.type == 'RetinaNet' and cfg.model.type == 'DetTTAModel'
    load, views = cfg.test_dataloader.dataset.pipeline
    flips, (pack,) = views['transforms']
    assert load.type == 'LoadImageFromFile' and [flip['prob'] for flip in flips] == [0, 1]
    assert pack['meta_keys'] == ('img_id', 'flip', 'flip_direction')
    cfg = Config(dict(own, tta_model=dict(type='Mine'), tta_pipeline=[dict(type='Other')]))
    options.enable_tta(cfg)
    assert cfg.model == dict(type='Mine', module=dict(type='RetinaNet'))
    assert cfg.test_dataloader.dataset.pipeline == [dict(type='Other')]
    for wrapped in (
        dict(type='RepeatDataset', dataset=dict(pipeline=pipeline), times=2),
        dict(type='ConcatDataset', datasets=[dict(pipeline=pipeline), dict(pipeline=pipeline)]),
    ):
        cfg = Config(dict(own, test_dataloader=dict(dataset=wrapped)))
        options.enable_tta(cfg)
        for dataset in innermost(cfg.test_dataloader.dataset):
            assert dataset.pipeline[-1].type == 'TestTimeAug'
        assert 'pipeline' not in cfg.test_dataloader.dataset
    with pytest.raises(ValueError, match=r"--tta needs tta_model in the config, or default_scope=None in \['mmpretr"):
        options.enable_tta(Config(dict(own, default_scope=None)))
    with pytest.raises(ValueError, match='--tta is not for MaskRCNN: mmdet averages boxes, but no masks'):
        options.enable_tta(Config(dict(own, model=dict(type='MaskRCNN', roi_head=dict(mask_head=dict())))))


def test_predictions_of_any_evaluator():
    writer, metric = dict(type='DumpResults', out_file_path='a.pkl'), dict(type='Accuracy')
    for evaluator, expected in (
        (metric, [metric, writer]),
        ([metric, metric], [metric, metric, writer]),
        (None, [writer]),
        (dict(type='Evaluator', metrics=metric), dict(type='Evaluator', metrics=[metric, writer])),
        (dict(type='Evaluator', metrics=[metric]), dict(type='Evaluator', metrics=[metric, writer])),
    ):
        cfg = Config(dict(test_evaluator=evaluator))
        options.write_predictions(cfg, 'a.pkl')
        assert cfg.test_evaluator == expected
