"""The segmentation configs of all families: they build, with the published parameters, and train at a small size."""

import re

import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from mmengine.structures import PixelData

from tests.test_configs.helpers import PATHS, build_model, load, make_shallow
from vil_mm.engine.options import enable_tta

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


@pytest.mark.slow
@pytest.mark.parametrize('data, width', [('8xb2-160k_ade20k-512x512', 1024), ('4xb2-80k_cityscapes-512x1024', 512)])
def test_views_of_an_image(data, width, tmp_path):
    """With ``--tta``: six sizes, those of the test times 0.5 to 1.75, and their mirror images, on one label map."""
    cfg = load(f'vil-tiny_upernet_{data}')
    make_shallow(cfg)
    cfg.model.backbone.init_cfg = None
    height = 256  # a quarter or half of the size that images are resized to
    image, labels = np.zeros((height, width, 3), np.uint8), np.full((height, width), 3, np.uint8)
    image[:, : width // 3] = 200
    for name, array in (('image.png', image), ('labels.png', labels)):
        mmcv.imwrite(array, str(tmp_path / name))
    enable_tta(cfg)
    reduced = 'ade' in data
    results = dict(img_path=str(tmp_path / 'image.png'), seg_map_path=str(tmp_path / 'labels.png'), seg_fields=[])
    views = Compose(cfg.test_dataloader.dataset.pipeline)(dict(results, reduce_zero_label=reduced))
    sides = [tuple(view.shape[1:]) for view in views['inputs']]
    scale = 2 if reduced else 4
    assert sides == [
        (int(height * scale * ratio), int(width * scale * ratio))
        for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
        for _ in range(2)
    ]
    assert [sample.flip for sample in views['data_samples']] == [False, True] * 6
    plain, mirrored = views['inputs'][:2]
    assert torch.equal(mirrored, plain.flip(2)) and not torch.equal(mirrored, plain)
    truth = views['data_samples'][0].gt_sem_seg.data
    assert truth.shape == (1, height, width) and (truth == 3 - reduced).all()
    model = revert_sync_batchnorm(MODELS.build(cfg.model)).eval()
    few = {key: [[view] for view in value[:2]] for key, value in views.items()}
    with torch.no_grad():
        (prediction,) = model.test_step(few)
    assert prediction.pred_sem_seg.data.shape == (1, height, width)


def test_there_is_a_config_for_every_row():
    for size in ('tiny', 'small', 'medium-deep', 'base-deep'):
        assert f'vil-{size}_upernet_8xb2-160k_ade20k-512x512' in LEAVES
        assert f'vil-{size}_upernet_4xb2-80k_cityscapes-512x1024' in LEAVES
    for row in ('small', '48m', 'base'):
        assert {f'vitae-v2-{kind}{row}_upernet_8xb2-160k_ade20k-512x512' for kind in ('', 'vsa-')} <= set(LEAVES)
    for row in [*PUBLISHED, 'dynamic-dwnet-tiny', 'dynamic-dwnet-base']:
        assert f'{row}_upernet_8xb2-160k_ade20k-512x512' in LEAVES
