"""The segmentation configs of all families: they build, with the published parameters, and train at a small size."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model.utils import revert_sync_batchnorm
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import PixelData

from tests.conftest import ROOT

LEAVES = sorted(path for path in (ROOT / 'configs').glob('*/segmentation/*.py') if 'digit' not in path.stem)
# Millions, of the published segmenters, by the sizes of their parts.
PUBLISHED = {
    'l2vit-tiny': 60.3,
    'l2vit-small': 81.9,
    'l2vit-base': 122.1,
    'dwnet-tiny': 55.8,
    'dwnet-base': 107.9,
}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_builds(path):
    assert len(path.read_text().splitlines()) <= 30
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    row = path.stem.split('_upernet')[0]
    if row in PUBLISHED:
        assert millions == pytest.approx(PUBLISHED[row], abs=0.06)
    assert model.decode_head.num_classes == model.auxiliary_head.num_classes == (19 if 'city' in path.stem else 150)


@pytest.mark.parametrize(
    'path', [path for path in LEAVES if 'ade20k' in path.stem and '_8xb2-160k' in path.stem], ids=lambda path: path.stem
)
def test_trains(path):
    from mmseg.structures import SegDataSample

    cfg = Config.fromfile(path)
    if 'base' in path.stem or 'medium' in path.stem:
        pytest.skip('the same blocks as in the smaller sizes')
    cfg.model.backbone.init_cfg = None
    cfg.model.data_preprocessor.size = None
    cfg.model.data_preprocessor.size_divisor = 32
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
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
    names = {path.stem for path in LEAVES}
    for size in ('tiny', 'small', 'medium-deep', 'base-deep'):
        assert f'vil-{size}_upernet_8xb2-160k_ade20k-512x512' in names
        assert f'vil-{size}_upernet_4xb2-80k_cityscapes-512x1024' in names
    for row in [*PUBLISHED, 'dynamic-dwnet-tiny', 'dynamic-dwnet-base']:
        assert f'{row}_upernet_8xb2-160k_ade20k-512x512' in names
