"""ViTAEv2's detection configs, and the base of the cascade that other families share."""

from pathlib import Path

import mmdet
import pytest
import torch
from mmengine.config import Config

from tests.test_configs import helpers
from tests.test_configs.helpers import BASES, build_model, check_detector_training, leaves, make_shallow, weight_decays

LEAVES = [name for name in leaves('vitae_v2/detection') if name.endswith('_coco')]
# Drop path rate and weight decay of each row.
ROWS = {
    'mask-rcnn_vitae-v2-vsa-small_fpn_ms-crop-1x': (0.1, 0.05),
    'mask-rcnn_vitae-v2-vsa-small_fpn_ms-crop-3x': (0.25, 0.05),
    'mask-rcnn_vitae-v2-vsa-48m_fpn_ms-crop-3x': (0.35, 0.05),
    'mask-rcnn_vitae-v2-small_fpn_ms-crop-1x': (0.1, 0.045),
    'mask-rcnn_vitae-v2-small_fpn_ms-crop-3x': (0.1, 0.05),
    'mask-rcnn_vitae-v2-window-small_fpn_ms-crop-1x': (0.1, 0.05),
    'mask-rcnn_vitae-v2-window-small_fpn_ms-crop-3x': (0.1, 0.05),
    'cascade-mask-rcnn_vitae-v2-vsa-small_fpn_ms-crop-1x': (0.05, 0.05),
    'cascade-mask-rcnn_vitae-v2-vsa-small_fpn_ms-crop-3x': (0.25, 0.05),
    'cascade-mask-rcnn_vitae-v2-vsa-48m_fpn_ms-crop-3x': (0.45, 0.05),
    'cascade-mask-rcnn_vitae-v2-small_fpn_ms-crop-1x': (0.1, 0.045),
    'cascade-mask-rcnn_vitae-v2-small_fpn_ms-crop-3x': (0.1, 0.05),
    'cascade-mask-rcnn_vitae-v2-window-small_fpn_ms-crop-1x': (0.1, 0.05),
    'cascade-mask-rcnn_vitae-v2-window-small_fpn_ms-crop-3x': (0.1, 0.05),
    'retinanet_vitae-v2-vsa-small_fpn_1x': (0.15, 0.05),
    'retinanet_vitae-v2-small_fpn_1x': (0.1, 0.05),
}
# Measured on the published code, and by formula with the heads, in millions.
BACKBONES = {'window-small': 18_844_992, 'small': 18_842_688, 'vsa-small': 19_260_300, 'vsa-48m': 50_320_119}
MILLIONS = {
    'mask-rcnn': {'window-small': 39.0, 'small': 39.0, 'vsa-small': 39.4, 'vsa-48m': 70.6},
    'cascade-mask-rcnn': {'window-small': 76.8, 'small': 76.8, 'vsa-small': 77.2, 'vsa-48m': 108.4},
}


def load(name):
    cfg = helpers.load(name)
    arch = cfg.model.backbone.arch
    assert cfg.model.backbone.pop('init_cfg').checkpoint == f'checkpoints/vitae-v2-{arch}_in1k.pth'
    return cfg, name.split('_')[0], arch


def test_there_is_a_config_for_every_row():
    assert set(LEAVES) == {f'{name}_coco' for name in ROWS}


@pytest.mark.parametrize('name', LEAVES)
def test_is_the_published_model(name):
    cfg, detector, arch = load(name)
    drop_path, decay = ROWS[name.removesuffix('_coco')]
    assert cfg.model.backbone.drop_path_rate == drop_path
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=decay)
    assert cfg.train_cfg.max_epochs == (36 if '3x' in name else 12)
    with torch.device('meta'):
        model = build_model(cfg)
    assert sum(p.numel() for p in model.backbone.parameters()) == BACKBONES[arch]
    attention = model.backbone.stages[0].embed.attn
    assert attention.window_size == 7 and attention.padding == 'both'
    assert not arch.startswith('vsa') or attention.swap_window_counts
    if detector == 'retinanet':
        assert list(model.backbone.out_indices) == [1, 2, 3]
    else:
        millions = sum(p.numel() for p in model.parameters()) / 1e6
        assert millions == pytest.approx(MILLIONS[detector][arch], abs=0.05)


@pytest.mark.parametrize(
    'name',
    [
        'mask-rcnn_vitae-v2-small_fpn_ms-crop-1x_coco',
        'cascade-mask-rcnn_vitae-v2-vsa-small_fpn_ms-crop-1x_coco',
        'retinanet_vitae-v2-vsa-small_fpn_1x_coco',
    ],
)
def test_trains(name):
    cfg, *_ = load(name)
    make_shallow(cfg, (1, 1, 2, 1))
    model = check_detector_training(cfg)
    for parameter_name, decay in weight_decays(model, cfg).items():
        exempt = '.norm1.' in parameter_name or '.norm2.' in parameter_name or 'relative_position' in parameter_name
        assert decay == (0.0 if exempt else cfg.optim_wrapper.optimizer.weight_decay), parameter_name


def test_the_cascade_has_settings_of_mmdet():
    """But for the backbone, and for the box heads."""
    ours = Config.fromfile(BASES / 'models/cascade-mask-rcnn_fpn.py').model.to_dict()
    folder = Path(mmdet.__file__).parent / '.mim/configs'
    stock = Config.fromfile(folder / '_base_/models/cascade-mask-rcnn_r50_fpn.py').model.to_dict()
    swin_like = Config.fromfile(
        folder / 'convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py'
    )
    stock.pop('backbone')
    stock['neck'].pop('in_channels')
    stock['roi_head'].pop('bbox_head')
    assert ours['roi_head'].pop('bbox_head') == swin_like.model.to_dict()['roi_head']['bbox_head']
    assert ours == stock


def test_retinanet_has_images_of_one_size():
    cfg = helpers.load('retinanet_vitae-v2-vsa-small_fpn_1x_coco')
    stock = Config.fromfile(Path(mmdet.__file__).parent / '.mim/configs/_base_/datasets/coco_detection.py')
    for loader in ('train_dataloader', 'test_dataloader'):
        ours, theirs = (c.to_dict()[loader]['dataset']['pipeline'] for c in (cfg, stock))
        for step in theirs:
            step.pop('backend_args', None)
        assert ours == theirs
