"""The functions of mmdet and mmseg for single images take the detection and segmentation configs."""

import numpy as np
import pytest
from PIL import Image

from tests.test_configs.helpers import PATHS, load

DENSE = [name for name, path in PATHS.items() if path.parent.name in ('detection', 'segmentation')]
DIGITS = [name for name in DENSE if 'digit-scenes' in name and ('upernet' in name or 'retinanet' in name)]


@pytest.mark.parametrize('name', DENSE)
def test_test_pipeline(name):
    """mmseg reads it and leaves the labels out."""
    cfg = load(name)
    assert cfg.test_pipeline == cfg.test_dataloader.dataset.pipeline


@pytest.mark.parametrize('name', DIGITS)
def test_single_images(name, tmp_path):
    cfg = load(name)
    pixels = np.random.default_rng(0).integers(0, 255, (128, 128, 3), np.uint8)
    file = str(tmp_path / 'image.png')
    Image.fromarray(pixels[..., ::-1]).save(file)
    if cfg.default_scope == 'mmseg':
        from mmseg.apis import inference_model, init_model

        model = init_model(cfg, device='cpu')
        results = [inference_model(model, image).pred_sem_seg.data for image in (file, pixels)]
        assert results[0].shape == (1, 128, 128)
    else:
        from mmdet.apis import inference_detector, init_detector

        model = init_detector(cfg, device='cpu')
        model.test_cfg.get('rcnn', model.test_cfg).score_thr = 0.0
        results = [inference_detector(model, image).pred_instances.scores for image in (file, pixels)]
        assert len(results[0])
    assert (results[0] == results[1]).all()
