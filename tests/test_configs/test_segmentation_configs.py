"""The segmentation configs of all families: they build, with the published parameters, and train at a small size."""

import re

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.structures import PixelData

from tests.test_configs.helpers import PATHS, build_model, load, make_shallow

LEAVES = [name for name, path in PATHS.items() if path.parent.name == 'segmentation' and 'digit' not in name]
# Millions, of the published segmenters, by the sizes of their parts.
PUBLISHED = {
    'l2vit-tiny': 60.3,
    'l2vit-small': 81.9,
    'l2vit-base': 122.1,
    'dwnet-tiny': 55.8,
    'dwnet-base': 107.9,
}


@pytest.mark.parametrize('name', LEAVES)
def test_builds(name):
    cfg = load(name)
    cfg.model.backbone.init_cfg = None
    with torch.device('meta'):
        model = build_model(cfg)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    row = name.split('_upernet')[0]
    if row in PUBLISHED:
        assert millions == pytest.approx(PUBLISHED[row], abs=0.06)
    # images of any size are padded, so that the maps of all stages show the same part of the image
    assert model.data_preprocessor.test_cfg == dict(size_divisor=32)
    assert model.decode_head.num_classes == model.auxiliary_head.num_classes == (19 if 'city' in name else 150)


#: One size of each kind of backbone.
KINDS = {re.sub('-(tiny|small|medium|base|deep|48m)', '', name): name for name in LEAVES if '_8xb2-160k_ade20k' in name}


@pytest.mark.parametrize('name', KINDS.values())
def test_trains(name):
    from mmseg.structures import SegDataSample

    cfg = load(name)
    make_shallow(cfg)
    cfg.model.backbone.init_cfg = None
    cfg.model.decode_head.channels = cfg.model.auxiliary_head.channels = 32
    cfg.model.data_preprocessor.size = None
    cfg.model.data_preprocessor.size_divisor = 32
    torch.manual_seed(0)
    model = revert_sync_batchnorm(build_model(cfg))
    model.init_weights()
    samples = []
    for _ in range(2):
        labels = PixelData(data=torch.randint(0, 150, (1, 64, 96)))
        samples.append(SegDataSample(gt_sem_seg=labels, metainfo=dict(img_shape=(64, 96), ori_shape=(64, 96))))
    images = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in samples]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    assert loss.isfinite()
    loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_there_is_a_config_for_every_row():
    for size in ('tiny', 'small', 'medium-deep', 'base-deep'):
        assert f'vil-{size}_upernet_8xb2-160k_ade20k-512x512' in LEAVES
        assert f'vil-{size}_upernet_4xb2-80k_cityscapes-512x1024' in LEAVES
    for row in ('small', '48m', 'base'):
        assert {f'vitae-v2-{kind}{row}_upernet_8xb2-160k_ade20k-512x512' for kind in ('', 'vsa-')} <= set(LEAVES)
    for row in [*PUBLISHED, 'dynamic-dwnet-tiny', 'dynamic-dwnet-base']:
        assert f'{row}_upernet_8xb2-160k_ade20k-512x512' in LEAVES
