"""Drawing predictions of images that are no files of their own."""

from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from vil_mm.engine.hooks.draw_predictions import DrawPredictionsHook


@pytest.mark.parametrize('channels, to_rgb', [(1, False), (3, False), (3, True)])
def test_images_in_arrays_and_archives(channels, to_rgb, tmp_path):
    image = torch.zeros(channels, 200, 300, dtype=torch.uint8)
    image[0, 100:] = 255
    samples = [DataSample().set_pred_label(1).set_pred_score(torch.tensor([0.2, 0.8])) for _ in range(2)]
    samples[1].set_metainfo(dict(img_path=str(tmp_path / 'val.zip/n01/x.jpg')))
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=to_rgb))
    runner = SimpleNamespace(world_size=1, visualizer=UniversalVisualizer(), model=model)
    DrawPredictionsHook(tmp_path / 'out').after_test_iter(runner, 3, dict(inputs=[image] * 2), samples)
    expected = [255] * 3 if channels == 1 else [0, 0, 255] if to_rgb else [255, 0, 0]
    for name in ('images/00003-000.png', 'n01/x.png'):
        drawn = mmcv.imread(tmp_path / 'out' / name, channel_order='rgb')
        np.testing.assert_array_equal(drawn[-1, -1], expected)
