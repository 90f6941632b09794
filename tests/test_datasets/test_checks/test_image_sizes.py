"""Sizes of images as they are loaded, against those in an annotation file."""

import mmcv
import numpy as np
import pytest
from PIL import Image

from tests.test_datasets.test_checks.conftest import LOADERS, edited
from vil_mm.datasets.checks import check_data

LOADING = [
    dict(color_type=color, imdecode_backend=backend)
    for backend in ('cv2', 'pillow')
    for color in ('color', 'grayscale', 'unchanged', 'color_ignore_orientation')
]


def write(path, orientation, width=128, height=96):
    """Write an image whose EXIF data say that it is to be turned."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)


@pytest.fixture
def turned(scenes, config):
    """Turn the first validation image, as a JPEG or PNG file, and get a config."""

    def make(orientation, suffix='.jpg', width=128, height=96, **loading):
        write(scenes / f'val/turned{suffix}', orientation, width, height)
        with edited(scenes / 'annotations/val.json') as content:
            content['images'][0].update(file_name=f'turned{suffix}', width=width, height=height)
        cfg = config('retinanet')
        cfg.val_dataloader.dataset.pipeline[0].update(loading)
        return cfg

    return make


@pytest.mark.parametrize('loading', LOADING, ids=lambda loading: '-'.join(loading.values()))
@pytest.mark.parametrize('suffix', ['.jpg', '.png'])
@pytest.mark.parametrize('orientation', [1, 6])
def test_sizes_are_those_that_mmcv_loads(orientation, suffix, loading, turned, scenes):
    cfg = turned(orientation, suffix, **loading)
    height, width = mmcv.imread(
        scenes / f'val/turned{suffix}', loading['color_type'], backend=loading['imdecode_backend']
    ).shape[:2]
    if (width, height) == (128, 96):
        check_data(cfg, LOADERS)
        return
    assert orientation == 6 and (width, height) == (96, 128)
    with pytest.raises(
        ValueError,
        match=rf'val_dataloader: 1 of 2 images have another width and height than {scenes}/annotations/val.json says; '
        rf'such as {scenes}/val/turned{suffix}: 128x96, loaded as 96x128 \(EXIF orientation 6\): load the images with '
        "color_type='color_ignore_orientation' and imdecode_backend='cv2' if the boxes fit so",
    ):
        check_data(cfg, LOADERS)


def test_boxes_of_turned_images(turned, scenes):
    cfg = turned(6)
    with edited(scenes / 'annotations/val.json') as content:
        content['images'][0].update(width=96, height=128)
    check_data(cfg, LOADERS)
    cfg.val_dataloader.dataset.pipeline[0].color_type = 'unchanged'
    with pytest.raises(
        ValueError, match=r"96x128, loaded as 128x96 .*: load the images with color_type='color' and imde"
    ):
        check_data(cfg, LOADERS)


@pytest.mark.parametrize('size', [(128, 97), (127, 128), (96, 128)])
def test_other_sizes(size, turned, scenes):
    cfg = turned(1)
    with edited(scenes / 'annotations/val.json') as content:
        content['images'][0].update(width=size[0], height=size[1])
    message = (
        r'turned.jpg: {}x{}, loaded as 128x96: correct the width, height and boxes in the file, or take the images'
    )
    with pytest.raises(ValueError, match=message.format(*size)):
        check_data(cfg, LOADERS)


@pytest.mark.parametrize('orientation, shape', [(3, (128, 96)), (6, (96, 96))])
def test_turns_that_keep_the_size(orientation, shape, turned, messages):
    check_data(turned(orientation, '.jpg', *shape), LOADERS)
    assert messages[0].startswith(
        'val_dataloader: 1 images are turned upright on loading: check that their boxes fit the turned images; such as'
    )
