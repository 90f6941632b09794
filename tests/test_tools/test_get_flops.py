"""tools/analysis_tools/get_flops.py: its counts, and the image size that it counts for."""

import re

import pytest
from mmengine.config import Config, ConfigDict

from tests.conftest import ROOT, run_tool
from tools.analysis_tools.get_flops import choose_shape

DIGITS = ROOT / 'configs/l2vit/l2vit-nano_1xb64_digits.py'


def test_shares_of_stages():
    config = 'configs/vil/vil-nano-performer_1xb64_digits.py'
    log = run_tool('tools/analysis_tools/get_flops.py', config, '--shape', 128, '--published').stdout
    rows = {name: float(macs) for name, macs in re.findall(r'^(\S+) +[\d,]+ +([\d.]+) +[\d.]+%$', log, re.M)}
    stages = [rows[f'backbone.stages.{i}'] for i in range(4)]
    assert abs(sum(stages) - rows['backbone']) < 2e-3 and rows['backbone'] <= rows['all']
    published = float(re.search(r'as the publication counts +([\d.]+)', log)[1])
    assert published > rows['all']


def test_size_of_training_images():
    log = run_tool('tools/analysis_tools/get_flops.py', 'configs/l2vit/l2vit-nano_1xb64_digits.py').stdout
    assert 'image of 32x32' in log


def test_another_size():
    config = 'configs/vil/vil-tiny-ape_8xb128_in1k.py'
    log = run_tool('tools/analysis_tools/get_flops.py', config, '--shape', 224, 448).stdout
    assert 'image of 224x448' in log
    assert 2.8 < float(re.search(r'^all +[\d,]+ +([\d.]+)', log, re.M)[1]) < 3.3


def with_steps(*steps, channels=3):
    """A classifier's config whose training pipeline has the given steps."""
    cfg = Config.fromfile(DIGITS)
    cfg.model.backbone.in_channels = channels
    pipeline = [dict(type='LoadImageFromFile'), *steps, dict(type='PackInputs')]
    cfg.train_dataloader.dataset.pipeline = [ConfigDict(step) for step in pipeline]
    return cfg


@pytest.mark.parametrize(
    'steps, shape',
    [
        ([dict(type='RandomResizedCrop', scale=64)], (64, 64)),
        ([dict(type='RandomResizedCrop', scale=(64, 96))], (64, 96)),
        ([dict(type='RandomCrop', crop_size=(64, 96))], (64, 96)),
        # mmcv's sizes are width and height
        ([dict(type='Resize', scale=(96, 64))], (64, 96)),
        ([dict(type='Resize', scale=64)], (64, 64)),
        ([dict(type='ResizeEdge', scale=80, edge='short'), dict(type='CenterCrop', crop_size=64)], (64, 64)),
        ([dict(type='RandomCrop', crop_size=28), dict(type='Resize', scale=48, backend='pillow')], (48, 48)),
        ([dict(type='RandomChoice', transforms=[[dict(type='Resize', scale=s)] for s in ((64, 64),) * 2])], (64, 64)),
    ],
)
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_sizes_of_pipelines(steps, shape, channels):
    assert choose_shape(with_steps(*steps, channels=channels), None) == shape


@pytest.mark.parametrize('steps', [[], [dict(type='ResizeEdge', scale=80, edge='short')]])
def test_pipelines_without_one_size(steps):
    """Then the next loader tells, or the user."""
    cfg = with_steps(*steps)
    cfg.val_dataloader = cfg.test_dataloader = None
    message = r'--shape is needed: the config does not give all images one size'
    with pytest.raises(ValueError, match=message):
        choose_shape(cfg, None)
    cfg.test_dataloader = with_steps(dict(type='Resize', scale=64)).train_dataloader
    for train_dataloader in (cfg.train_dataloader, None):
        cfg.train_dataloader = train_dataloader
        assert choose_shape(cfg, None) == (64, 64)
    cfg.pop('train_dataloader')
    assert choose_shape(cfg, None) == (64, 64)


def test_wrapped_datasets():
    cfg = with_steps(dict(type='Resize', scale=(96, 64)))
    plain = cfg.train_dataloader.dataset
    repeated = dict(type='RepeatDataset', times=2, dataset=dict(type='ClassBalancedDataset', dataset=plain))
    cfg.train_dataloader.dataset = ConfigDict(type='ConcatDataset', datasets=[repeated, plain])
    assert choose_shape(cfg, None) == (64, 96)


def test_pipelines_that_need_more_than_an_image():
    cfg = with_steps(dict(type='ApplyToList', scatter_key='views', transforms=[]))
    with pytest.raises(ValueError, match='--shape is needed: the pipeline of train_dataloader does not run on a blank'):
        choose_shape(cfg, None)


@pytest.mark.parametrize(
    'name, shape',
    [
        ('vil/segmentation/vil-tiny_upernet_4xb2-80k_cityscapes-512x1024', (512, 1024)),
        ('vil/segmentation/vil-nano_upernet_1xb8-1600i_digit-scenes-128x128', (128, 128)),
        ('vil/detection/retinanet_vil-nano_fpn_1xb8-800i_digit-scenes', None),
    ],
)
def test_other_tasks(name, shape):
    cfg = Config.fromfile(ROOT / f'configs/{name}.py')
    if shape is None:
        with pytest.raises(ValueError, match='--shape is needed'):
            choose_shape(cfg, None)
    else:
        assert choose_shape(cfg, None) == shape
        cfg.model.data_preprocessor.size = None
        cfg.crop_size = shape
        assert choose_shape(cfg, None) == shape


def test_given_shapes():
    cfg = Config.fromfile(DIGITS)
    assert choose_shape(cfg, [64]) == (64, 64) and choose_shape(cfg, [64, 96]) == (64, 96)
    for sizes in ([1, 2, 3], [0], [-5, 4]):
        with pytest.raises(ValueError, match=re.escape(f'--shape {sizes} must be one size, or height and width')):
            choose_shape(cfg, sizes)
