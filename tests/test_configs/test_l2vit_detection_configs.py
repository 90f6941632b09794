"""L2ViT's detection configs, and the bases that other families share: mmdet's settings, and the published recipe."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config

from tests.test_configs import helpers
from tests.test_configs.helpers import BASES, build_model, check_detector_training, leaves, make_shallow, weight_decays

LEAVES = [name for name in leaves('l2vit/detection') if name.endswith('_coco')]
LEAVES_OF_TINY = [name for name in LEAVES if 'tiny' in name and '1x' in name]
MASK_RCNN_MILLIONS = {'tiny': 48.1, 'small': 69.7, 'base': 108.0}
DROP_PATH_RATES = {
    '1x': {'tiny': 0.1, 'small': 0.1, 'base': 0.2},
    '3x': {'tiny': 0.2, 'small': 0.2, 'base': 0.3},
}


def load(name):
    cfg = helpers.load(name)
    assert cfg.model.backbone.pop('init_cfg').checkpoint.startswith('checkpoints/l2vit-')
    return cfg, name.split('_')[0], cfg.model.backbone.arch, name.split('-')[-1].removesuffix('_coco')


def test_there_is_a_config_for_every_row():
    names = {
        f'{detector}_l2vit-{size}_fpn_ms-crop-{schedule}_coco'
        for detector in ('mask-rcnn', 'retinanet')
        for size in ('tiny', 'small', 'base')
        for schedule in ('1x', '3x')
    }
    assert set(LEAVES) == names


@pytest.mark.parametrize('name', LEAVES)
def test_is_the_published_model(name):
    cfg, detector, size, schedule = load(name)
    assert cfg.model.backbone.drop_path_rate == DROP_PATH_RATES[schedule][size]
    assert cfg.train_cfg.max_epochs == {'1x': 12, '3x': 36}[schedule]
    with torch.device('meta'):
        model = build_model(cfg)
    assert model.backbone.stages[0].blocks[0].attn.window_size == 7
    assert len(model.backbone.out_indices) == len(model.neck.in_channels) == (4 if detector == 'mask-rcnn' else 3)
    if detector == 'mask-rcnn':
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        assert millions == pytest.approx(MASK_RCNN_MILLIONS[size], abs=0.05)


@pytest.mark.parametrize('name', LEAVES_OF_TINY)
def test_trains(name):
    cfg, *_ = load(name)
    make_shallow(cfg, (1, 1, 2, 1))
    model = check_detector_training(cfg)
    assert cfg.optim_wrapper.optimizer.lr == 1e-4 and set(weight_decays(model, cfg).values()) == {0.05}


@pytest.mark.parametrize(
    'name, published', [('mask-rcnn_fpn', 'mask-rcnn_r50_fpn'), ('retinanet_fpn', 'retinanet_r50_fpn')]
)
def test_bases_are_settings_of_mmdet(name, published):
    """But for the backbone, and for levels of it that the neck leaves out."""
    ours = Config.fromfile(BASES / 'models' / f'{name}.py').model.to_dict()
    stock = Config.fromfile(Path(mmdet.__file__).parent / f'.mim/configs/_base_/models/{published}.py').model.to_dict()
    stock.pop('backbone')
    for key in ('in_channels', 'start_level'):
        stock['neck'].pop(key, None)
    assert ours == stock


@pytest.mark.parametrize('kind, with_mask', [('instance', True), ('detection', False)])
def test_images_are_those_of_detr(kind, with_mask):
    """mmdet's config of DETR has the same pipeline; the long side is written first here."""
    cfg = Config.fromfile(BASES / 'datasets' / f'coco_{kind}_ms-crop.py')
    stock = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs/detr/detr_r50_8xb2-150e_coco.py')

    def normal(value):
        if isinstance(value, dict):
            return {key: normal(item) for key, item in value.items() if key != 'backend_args'}
        if isinstance(value, tuple) and 1333 in value:
            return tuple(sorted(value))
        return [normal(item) for item in value] if isinstance(value, list) else value

    ours, theirs = (normal(c.to_dict()['train_dataloader']['dataset']['pipeline']) for c in (cfg, stock))
    assert ours[1].pop('with_mask', False) is with_mask
    assert ours == theirs
    loads = [step for step in cfg.test_dataloader.dataset.pipeline if step.type == 'LoadAnnotations']
    assert loads[0].get('with_mask', False) is with_mask
    assert cfg.val_evaluator.metric == (['bbox', 'segm'] if with_mask else 'bbox')


def test_schedules_count_epochs():
    for times, epochs, milestones in (('1x', 12, [8, 11]), ('3x', 36, [27, 33])):
        cfg = helpers.load(f'mask-rcnn_l2vit-tiny_fpn_ms-crop-{times}_coco')
        warmup, steps = cfg.param_scheduler
        assert (warmup.start_factor, warmup.end, warmup.by_epoch) == (0.001, 500, False)
        assert (steps.milestones, steps.end, steps.by_epoch) == (milestones, epochs, True)
        assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=epochs, val_interval=1)
        assert cfg.default_hooks.checkpoint.by_epoch and cfg.log_processor.by_epoch
        assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
        assert 'paramwise_cfg' not in cfg.optim_wrapper and 'clip_grad' not in cfg.optim_wrapper
