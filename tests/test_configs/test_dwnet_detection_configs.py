"""DWNet's detection configs: the published models and recipe, and training at a small size."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT

FOLDER = ROOT / 'configs/dwnet/detection'
LEAVES = sorted(FOLDER.glob('*.py'))
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


def load(path):
    cfg = Config.fromfile(path)
    checkpoint = cfg.model.backbone.pop('init_cfg').checkpoint
    assert checkpoint == f'checkpoints/{path.stem.split("_")[1]}_in1k.pth'
    init_default_scope(cfg.default_scope)
    return cfg


def test_there_is_a_config_for_every_row():
    assert {path.stem for path in LEAVES} == {*CASCADES, *OTHERS}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_is_the_published_model(path):
    assert len(path.read_text().splitlines()) <= 30
    cfg = load(path)
    assert cfg.train_cfg.max_epochs == (36 if '3x' in path.stem else 12)
    assert cfg.model.backbone.drop_path_rate == (0.3 if 'base' in path.stem else 0.2)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    assert norms and all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    assert len(model.backbone.out_indices) == len(model.neck.in_channels) == (3 if 'retinanet' in path.stem else 4)
    if path.stem in CASCADES:
        backbone, millions = CASCADES[path.stem]
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
    from mmdet.testing import demo_mm_inputs

    cfg = load(FOLDER / f'{name}.py')
    cfg.model.backbone.arch = dict(embed_dims=[96, 192, 384, 768], depths=[1, 1, 1, 1])
    if 'cascade' in name:  # few boxes train as well as many
        cfg.model.train_cfg.rpn_proposal.max_per_img = 16
        for stage in cfg.model.train_cfg.rcnn:
            stage.sampler.num = 8
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    model.init_weights()
    optim_wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    with_mask = 'mask' in name
    data = demo_mm_inputs(2, [[3, 64, 90]] * 2, num_classes=80, with_mask=with_mask, use_box_type=False)
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    optim_wrapper.backward(loss)
    # neither head need find an object of its own in one random image
    without = [name for name, p in model.named_parameters() if p.grad is None and name.startswith(('backbone', 'neck'))]
    assert without == []


def test_weight_decay_is_the_published_one():
    """By published name, what holds "norm" is not decayed; all else is, biases and the blocks' batch norms too."""
    cfg = load(FOLDER / 'cascade-mask-rcnn_dynamic-dwnet-tiny_fpn_ms-crop-3x_coco.py')
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05)
    model = MODELS.build(dict(cfg.model.backbone, arch=dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1])))
    model = torch.nn.ModuleDict(dict(backbone=model))
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    undecayed = {name for name, p in model.named_parameters() if decays[id(p)] == 0}
    norms = [f'stages.{i}.embed.norm' for i in range(4)] + [f'norm{i}' for i in range(4)]
    assert undecayed == {f'backbone.{norm}.{kind}' for norm in norms for kind in ('weight', 'bias')}
    assert {decays[id(p)] for p in model.parameters()} == {0, 0.05}
