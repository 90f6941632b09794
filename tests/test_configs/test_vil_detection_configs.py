"""The detection configs: they build, with the published parameters and multiply-adds, and train at a small size."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.test_configs import helpers
from tests.test_configs.helpers import build_model, check_detector_training, leaves, make_shallow
from vil_mm.apis import count_macs, count_published_macs

LEAVES = [name for name in leaves('vil/detection') if name.endswith('_coco')]
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


def load(name):
    cfg = helpers.load(name)
    cfg.model.backbone.pop('init_cfg')
    return cfg


@pytest.mark.parametrize('row', [*DETECTORS, *MECHANISMS])
def test_published_parameters_and_macs(row):
    cfg = load(f'{row}_fpn_1x_coco')
    with FakeTensorMode():
        model = build_model(cfg).eval()
        counted = WithoutMasks(model) if row in DETECTORS else model.backbone
        image = torch.rand(1, 3, 800, 1344)
        # the figure of Performer has products and sums that do not run
        count = count_published_macs(counted, [image]) if 'performer' in row else count_macs(counted, [image])['']
    width = cfg.model.neck.in_channels[-1]
    unused = 1000 * (width + 1) + 2 * width
    parameters, macs = (DETECTORS | MECHANISMS)[row]
    assert (sum(p.numel() for p in model.parameters()) + unused) / 1e6 == pytest.approx(parameters, abs=6e-4)
    assert count / 1e9 == pytest.approx(macs, rel=0.01)


@pytest.mark.parametrize('name', LEAVES)
def test_builds_and_trains(name):
    cfg = load(name)
    if '_1x_' not in name or '-small' not in name:  # another schedule or size of the same model
        with torch.device('meta'):
            build_model(cfg)
        return
    make_shallow(cfg)
    cfg.model.backbone.img_size = 128  # positions for the small image
    check_detector_training(cfg, shape=(96, 128))


def test_there_is_a_config_for_every_row():
    for row in DETECTORS:
        assert {f'{row}_fpn_1x_coco', f'{row}_fpn_ms-3x_coco'} <= set(LEAVES)
