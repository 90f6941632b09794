"""The detection configs: they build, with the published parameters and multiply-adds, and train at a small size."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.conftest import ROOT
from vil_mm.apis import count_macs, count_published_macs
from vil_mm.models.backbones.vil_arch import resolve_arch

FOLDER = ROOT / 'configs/vil/detection'
LEAVES = sorted(path for path in FOLDER.glob('*.py') if '_coco' in path.stem)
# Of the publication's detectors: millions of parameters, with the classification head that acts on nothing, and its
# norm; and billions of multiply-adds at 800x1344 as they run, with the heads of 1000 boxes and no masks.
DETECTORS = {
    'mask-rcnn_vil-tiny': (26.813, 156.2),
    'mask-rcnn_vil-small': (44.938, 240.2),
    'mask-rcnn_vil-medium-deep': (60.063, 331.7),
    'mask-rcnn_vil-base-deep': (76.082, 443.9),
    'retinanet_vil-tiny': (16.604, 193.3),
    'retinanet_vil-small': (35.602, 276.7),
    'retinanet_vil-medium-deep': (50.727, 368.3),
    'retinanet_vil-base-deep': (66.746, 480.4),
}
# The same of its comparison of mechanisms, with the multiply-adds of the backbone alone.
MECHANISMS = {
    'mask-rcnn_vil-small-sra64': (73.329, 100.0),
    'mask-rcnn_vil-small-sra32': (51.505, 145.1),
    'mask-rcnn_vil-small-partial-sra32': (46.787, 228.9),
    'mask-rcnn_vil-small-global': (45.237, 111.3),
    'mask-rcnn_vil-small-partial-global': (38.760, 210.0),
    'mask-rcnn_vil-small-partial-global-d768': (45.164, 217.0),
    'mask-rcnn_vil-small-performer': (45.017, 128.2),
    'mask-rcnn_vil-small-partial-performer': (45.017, 220.4),
    'mask-rcnn_vil-small-ape': (45.017, 116.9),
    'mask-rcnn_vil-small-partial-ape': (45.017, 214.9),
}


class WithoutMasks(nn.Module):
    """What a detector runs on an image, its boxes' heads on 1000 proposals."""

    def __init__(self, detector):
        super().__init__()
        self.detector = detector

    def forward(self, image):
        levels = self.detector.extract_feat(image)
        if hasattr(self.detector, 'rpn_head'):
            self.detector.rpn_head(levels)
            self.detector.roi_head.bbox_head(image.new_zeros(1000, 256, 7, 7))
        else:
            self.detector.bbox_head(levels)


def build(path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.pop('init_cfg')
    init_default_scope(cfg.default_scope)
    return cfg, MODELS.build(cfg.model)


@pytest.mark.parametrize('row', [*DETECTORS, *MECHANISMS])
def test_published_parameters_and_macs(row):
    _, model = build(FOLDER / f'{row}_fpn_1x_coco.py')
    width = model.backbone.stages[-1].patch_embed.embed_dims
    unused = 1000 * (width + 1) + 2 * width
    parameters, macs = (DETECTORS | MECHANISMS)[row]
    assert (sum(p.numel() for p in model.parameters()) + unused) / 1e6 == pytest.approx(parameters, abs=6e-4)
    counted = WithoutMasks(model) if row in DETECTORS else model.backbone
    with FakeTensorMode(allow_non_fake_inputs=True):
        image = torch.rand(1, 3, 800, 1344)
        if 'performer' in row:  # whose figure has products and sums that do not run
            count = count_published_macs(counted.eval(), [image])
        else:
            count = count_macs(counted.eval(), [image])['']
    assert count / 1e9 == pytest.approx(macs, rel=0.01)


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_builds_and_trains(path):
    from mmdet.testing import demo_mm_inputs

    assert len(path.read_text().splitlines()) <= 30
    if '_1x_' not in path.stem:
        build(path)
        return  # the other schedule of the same model
    cfg = Config.fromfile(path)
    # one block a stage, and positions for the small image
    arch = resolve_arch(cfg.model.backbone.arch)
    cfg.model.backbone.update(arch=dict(arch, depths=[1] * 4), img_size=128)
    cfg.model.backbone.pop('init_cfg')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    torch.manual_seed(0)
    masks = 'mask_head' in cfg.model.get('roi_head', {})
    data = demo_mm_inputs(1, [[3, 96, 128]], num_classes=80, with_mask=masks, use_box_type=False)
    losses = model(**model.data_preprocessor(data, training=True), mode='loss')
    loss, _ = model.parse_losses(losses)
    assert loss.isfinite()
    optimizer.backward(loss)
    # neither head need find an object of its own in one random image
    without = [name for name, p in model.named_parameters() if p.grad is None and name.startswith(('backbone', 'neck'))]
    assert without == []
    optimizer.step()


def test_there_is_a_config_for_every_row():
    names = {path.stem for path in LEAVES}
    for row in DETECTORS:
        assert {f'{row}_fpn_1x_coco', f'{row}_fpn_ms-3x_coco'} <= names
