"""Image files, whole and damaged."""

import cv2
import numpy as np
import pytest

from tests.scenes import DEMOS
from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.image_files import find_state


@pytest.mark.parametrize('demo', DEMOS)
def test_missing_and_damaged_images(demo, scenes, config):
    image = scenes / 'train/0003.png'
    data = image.read_bytes()
    for bad in (b'', data[: len(data) // 2], b'no image' * 9):
        image.write_bytes(bad)
        with pytest.raises(ValueError, match=rf'train_dataloader: 1 of 5 images are damaged; such as {image}'):
            check_data(config(demo), LOADERS)


def test_kinds_of_image_files(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    path = tmp_path / 'image.jpg'  # the name need not tell the kind, for readers either
    for suffix in ('.png', '.jpg', '.bmp', '.webp', '.tiff'):
        content = cv2.imencode(suffix, image)[1].tobytes()
        for whole in (content, content + bytes(100)):
            path.write_bytes(whole)
            assert find_state(path) == 'whole', (suffix, len(whole))
        for damaged in (b'', content[:10], content[: len(content) // 2]):
            path.write_bytes(damaged)
            assert find_state(path) == 'damaged', (suffix, len(damaged))
