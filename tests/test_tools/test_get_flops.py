"""tools/analysis_tools/get_flops.py: its counts, and the image size that it counts for."""

import re
from contextlib import nullcontext

import pytest
import torch
from mmcv.transforms import Resize
from mmengine.config import Config, ConfigDict
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import ROOT, run_tool
from tools.analysis_tools.get_flops import build_model, choose_shape, fix_regions, make_inputs
from vil_mm.apis import count_macs

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
        ('vil/segmentation/vil-tiny_upernet_8xb2-160k_ade20k-512x512', (512, 2048)),
        ('vil/segmentation/vil-tiny_upernet_4xb2-80k_cityscapes-512x1024', (1024, 2048)),
        ('vil/segmentation/vil-nano_upernet_1xb8-1600i_digit-scenes-128x128', (128, 128)),
        ('vil/detection/retinanet_vil-tiny_fpn_1x_coco', (800, 1344)),
        ('vil/detection/retinanet_vil-nano_fpn_1xb8-800i_digit-scenes', (128, 128)),
    ],
)
def test_sizes_of_tests(name, shape):
    assert choose_shape(Config.fromfile(ROOT / f'configs/{name}.py'), None) == shape


def test_sizes_of_tests_with_other_settings():
    cfg = Config.fromfile(ROOT / 'configs/vil/detection/retinanet_vil-tiny_fpn_1x_coco.py')
    (resize,) = [step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'Resize']
    resize.scale = (480, 640)
    assert choose_shape(cfg, None) == (480, 640)
    resize.keep_ratio = False  # then it is width and height
    assert choose_shape(cfg, None) == (640, 480)
    resize.type = Resize  # as in pure-Python configs
    assert choose_shape(cfg, None) == (640, 480)
    cfg.test_dataloader.dataset.pipeline.remove(resize)
    with pytest.raises(ValueError, match='--shape is needed'):
        choose_shape(cfg, None)
    cfg = Config.fromfile(ROOT / 'configs/vil/segmentation/vil-nano_upernet_1xb8-1600i_digit-scenes-128x128.py')
    cfg.model.data_preprocessor.size, cfg.crop_size = None, (64, 90)
    assert choose_shape(cfg, None) == (64, 96)


@pytest.mark.parametrize(
    'name', ['mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes', pytest.param('cascade', marks=pytest.mark.slow)]
)
def test_heads_of_regions(name):
    """Counted for a fixed number of boxes and masks, with fake tensors as with real ones."""
    path = next(ROOT.glob(f'configs/vil/detection/{name}*.py'), None)
    cfg = Config.fromfile(path or ROOT / 'configs/_base_/models/cascade-mask-rcnn_fpn.py')
    if path is None:
        cfg.default_scope = 'mmdet'
        cfg.model.backbone = dict(type='vil_mm.L2ViT', arch='nano')
        cfg.model.neck.in_channels = [32, 64, 128, 256]
    counts = []
    for context in (FakeTensorMode(), nullcontext()):
        with context:
            model = build_model(cfg)
            fix_regions(model)
            counts.append(count_macs(model, make_inputs(cfg, (64, 96)), mode='tensor'))
    assert counts[0] == counts[1]
    heads = model.roi_head.bbox_head
    one = heads[0] if path is None else heads
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        one(torch.rand(1, 256 if path is None else cfg.model.neck.out_channels, 7, 7))
    boxes = model.rpn_head.test_cfg.max_per_img
    counted = sum(macs for part, macs in counts[0].items() if re.fullmatch(r'roi_head\.bbox_head(\.\d)?', part))
    assert counted == boxes * (3 if path is None else 1) * counter.get_total_flops() // 2


def test_given_shapes():
    cfg = Config.fromfile(DIGITS)
    assert choose_shape(cfg, [64]) == (64, 64) and choose_shape(cfg, [64, 96]) == (64, 96)
    for sizes in ([1, 2, 3], [0], [-5, 4]):
        with pytest.raises(ValueError, match=re.escape(f'--shape {sizes} must be one size, or height and width')):
            choose_shape(cfg, sizes)
