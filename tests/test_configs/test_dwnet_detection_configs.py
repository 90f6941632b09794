"""DWNet's detection configs: the published models and recipe, and training at a small size."""

import pytest
import torch
from mmengine.registry import MODELS

from tests.test_configs import helpers
from tests.test_configs.helpers import build_model, check_detector_training, leaves, make_shallow, weight_decays

LEAVES = leaves('dwnet/detection')
# Parameters of the backbone, measured on the published code, and millions of the whole, by formula.
CASCADES = {
    'cascade-mask-rcnn_dwnet-tiny_fpn_ms-crop-3x_coco': (23_405_088, 81.5),
    'cascade-mask-rcnn_dwnet-base_fpn_ms-crop-3x_coco': (73_323_904, 131.6),
    'cascade-mask-rcnn_dynamic-dwnet-tiny_fpn_ms-crop-3x_coco': (50_364_096, 108.5),
    'cascade-mask-rcnn_dynamic-dwnet-base_fpn_ms-crop-3x_coco': (160_574_720, 218.8),
}
OTHERS = [
    f'{detector}_{kind}dwnet-tiny_fpn_ms-crop-1x_coco'
    for detector in ('mask-rcnn', 'retinanet')
    for kind in ('', 'dynamic-')
]


def load(name):
    cfg = helpers.load(name)
    checkpoint = cfg.model.backbone.pop('init_cfg').checkpoint
    assert checkpoint == f'checkpoints/{name.split("_")[1]}_in1k.pth'
    return cfg


def test_there_is_a_config_for_every_row():
    assert set(LEAVES) == {*CASCADES, *OTHERS}


@pytest.mark.parametrize('name', LEAVES)
def test_is_the_published_model(name):
    cfg = load(name)
    assert cfg.train_cfg.max_epochs == (36 if '3x' in name else 12)
    assert cfg.model.backbone.drop_path_rate == (0.3 if 'base' in name else 0.2)
    with torch.device('meta'):
        model = build_model(cfg)
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    assert len(model.backbone.out_indices) == len(model.neck.in_channels) == (3 if 'retinanet' in name else 4)
    if name in CASCADES:
        backbone, millions = CASCADES[name]
        assert sum(p.numel() for p in model.backbone.parameters()) == backbone
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(
    'name',
    [
        'cascade-mask-rcnn_dynamic-dwnet-tiny_fpn_ms-crop-3x_coco',
        'mask-rcnn_dwnet-tiny_fpn_ms-crop-1x_coco',
        'retinanet_dynamic-dwnet-tiny_fpn_ms-crop-1x_coco',
    ],
)
def test_trains(name):
    cfg = load(name)
    make_shallow(cfg)
    check_detector_training(cfg, batch_size=2, shape=(64, 90))


def test_weight_decay_is_the_published_one():
    """By published name, what holds "norm" is not decayed; all else is, biases and the blocks' batch norms too."""
    cfg = load('cascade-mask-rcnn_dynamic-dwnet-tiny_fpn_ms-crop-3x_coco')
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    model = MODELS.build(dict(cfg.model.backbone, arch=dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1])))
    model = torch.nn.ModuleDict(dict(backbone=model))
    decays = weight_decays(model, cfg)
    norms = [f'stages.{i}.embed.norm' for i in range(4)] + [f'norm{i}' for i in range(4)]
    undecayed = {f'backbone.{norm}.{kind}' for norm in norms for kind in ('weight', 'bias')}
    assert decays == {name: 0 if name in undecayed else 0.05 for name in decays} and undecayed <= decays.keys()
