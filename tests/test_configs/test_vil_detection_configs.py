"""The detection configs: they build, with the published parameters, and detect at a small size."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT
from vil_mm.models.backbones.vil_arch import resolve_arch

LEAVES = sorted((ROOT / 'configs/vil/detection').glob('*.py'))
# Millions, of the publication's detectors: with the classification head that acts on nothing, and its norm.
PUBLISHED = {
    ('mask-rcnn', 'tiny'): 26.813,
    ('mask-rcnn', 'small'): 44.938,
    ('mask-rcnn', 'medium-deep'): 60.063,
    ('mask-rcnn', 'base-deep'): 76.082,
    ('retinanet', 'tiny'): 16.604,
    ('retinanet', 'small'): 35.602,
    ('retinanet', 'medium-deep'): 50.727,
    ('retinanet', 'base-deep'): 66.746,
}


def build(path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.pop('init_cfg')
    init_default_scope(cfg.default_scope)
    return cfg, MODELS.build(cfg.model)


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_builds_and_trains(path):
    from mmdet.testing import demo_mm_inputs

    assert len(path.read_text().splitlines()) <= 30
    cfg, model = build(path)
    arch = resolve_arch(cfg.model.backbone.arch)
    detector, size = path.stem.split('_vil-')[0], path.stem.split('_vil-')[1].split('_')[0]
    width = model.backbone.stages[-1].patch_embed.embed_dims
    unused = 1000 * (width + 1) + 2 * width
    parameters = sum(p.numel() for p in model.parameters())
    assert (parameters + unused) / 1e6 == pytest.approx(PUBLISHED[detector, size], abs=6e-4)

    if '_1x_' not in path.stem:
        return  # the other schedule of the same model
    cfg.model.backbone.arch = dict(arch, depths=[1, 1, 2, 1])
    model = MODELS.build(cfg.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    torch.manual_seed(0)
    data = demo_mm_inputs(1, [[3, 96, 128]], num_classes=80, with_mask=detector == 'mask-rcnn', use_box_type=False)
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    optimizer.backward(loss)
    # neither head need find an object of its own in one random image
    without = [name for name, p in model.named_parameters() if p.grad is None and name.startswith(('backbone', 'neck'))]
    assert without == []
    optimizer.step()


def test_there_is_a_config_for_every_row():
    for detector, size in PUBLISHED:
        for schedule in ('1x', 'ms-3x'):
            assert ROOT / f'configs/vil/detection/{detector}_vil-{size}_fpn_{schedule}_coco.py' in LEAVES
