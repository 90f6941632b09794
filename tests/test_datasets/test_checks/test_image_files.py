"""Image files, whole and damaged."""

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image

from tests.scenes import DEMOS
from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.image_copies import warn_of_copies
from vil_mm.datasets.checks.image_files import read_header, spread


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
    for suffix in ('.png', '.jpg', '.bmp', '.webp', '.tiff'):
        content = cv2.imencode(suffix, image)[1].tobytes()
        for name in ('image.jpg', f'image{suffix}'):  # the name need not tell the kind, for readers either
            path = tmp_path / name
            for whole in (content, content + bytes(100)):
                path.write_bytes(whole)
                header = read_header(path)
                assert header[:4] == ('whole', (50, 40), 1, suffix == '.jpg'), (name, suffix, len(whole))
            for damaged in (b'', content[:10]):
                path.write_bytes(damaged)
                assert read_header(path).state == 'damaged', (name, suffix, len(damaged))
        path = tmp_path / 'image.jpg'
        path.write_bytes(content[: len(content) // 2])
        assert read_header(path).state == 'damaged', suffix


def test_what_is_no_image_file(tmp_path):
    path = tmp_path / 'array.npy'
    np.save(path, np.zeros(3))
    assert read_header(path)[:4] == ('whole', None, 1, False)
    assert read_header(tmp_path).state == read_header(tmp_path / 'none.png').state == 'missing'
    assert read_header(path / 'none.png').state == 'missing'


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.webp'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_sizes_are_those_of_the_loaded_image(orientation, suffix, tmp_path):
    path = tmp_path / f'image{suffix}'
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = 'x' * 9000  # a long description comes before the size
    Image.new('RGB', (50, 40)).save(path, exif=exif)
    header = read_header(path)
    assert header.size == (50, 40)
    assert header.orientation == orientation
    assert header.upright_size == cv2.imread(str(path)).shape[1::-1]


def test_tiff_files_are_always_read_upright(tmp_path):
    path = tmp_path / 'image.tiff'
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (50, 40)).save(path, exif=exif)
    for flag in ('color', 'unchanged'):
        assert mmcv.imfrombytes(path.read_bytes(), flag=flag).shape[:2] == (50, 40)
    assert read_header(path)[:4] == ('whole', (40, 50), 1, False)


def test_damaged_exif_counts_as_upright(tmp_path):
    path = tmp_path / 'image.jpg'
    Image.new('RGB', (50, 40)).save(path, exif=b'Exif\0\0MM\0*\0\0\0\x08\0')
    assert read_header(path)[:4] == ('whole', (50, 40), 1, True)


def test_spread():
    assert spread(range(10), 3) == [0, 3, 6]
    assert spread(range(3), 10) == [0, 1, 2]
    assert spread([], 10) == []


def test_tiny_images(scenes, config, messages):
    for folder in ('train', 'label_maps/train'):
        Image.new('L', (2, 9)).save(scenes / folder / '0000.png')
    check_data(config('upernet'), LOADERS)
    tiny = 'are less than 4 pixels wide or high; such as'
    assert f'train_dataloader: 1 of 5 images {tiny} {scenes}/train/0000.png' in messages[0]
    assert f'train_dataloader: 1 of 5 label maps {tiny}' in messages[1]


@pytest.mark.parametrize('demo', DEMOS)
def test_copies_between_loaders(demo, scenes, config, messages):
    (scenes / 'val/0001.png').write_bytes((scenes / 'train/0003.png').read_bytes())
    check_data(config(demo), LOADERS)
    assert messages == [
        'val_dataloader: 1 images are copies of those of another data loader, and say nothing about unseen ones; '
        f'such as {scenes}/val/0001.png is {scenes}/train/0003.png'
    ]


def test_one_image_in_place_of_many(messages):
    images = [(f'{i}.png', max(i, 12)) for i in range(100)]
    warn_of_copies('train_dataloader', images, {})
    same = 'train_dataloader: 13 images have the same content, as if one stood for those that could not be downloaded'
    assert messages == [f'{same}; such as 0.png; 1.png; 2.png']
    warn_of_copies('train_dataloader', images[4:], {})  # too few
    warn_of_copies('train_dataloader', [*images, *((f'{i}.png', i) for i in range(200, 500))], {})
    warn_of_copies('train_dataloader', [(f'{i}.png', 0) for i in range(100)], {})  # unknown
    assert len(messages) == 1
