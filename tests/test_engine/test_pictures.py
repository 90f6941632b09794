"""Images loaded for drawing: with the colors, channels and orientation of the dataset's own pipeline; their names."""

import io
import json
import zipfile
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.registry import init_default_scope
from mmpretrain.datasets import CustomDataset, KFoldDataset, MultiLabelDataset
from PIL import Image

from tests.test_datasets.test_bases import write_idx
from vil_mm.datasets.zip_dataset import ZipDataset
from vil_mm.engine.pictures import LoadedImages, check_target, name_pictures, to_bytes

MODEL = SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=False))
#: The rest of a pipeline, which must not change the picture.
REST = [dict(type='Resize', scale=(9, 9)), dict(type='PackInputs')]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


def listed(folder, names, load=None, **kwargs):
    """A dataset of listed image files, all with the labels 0 and 2."""
    entries = [dict(img_path=name, gt_label=[0, 2]) for name in names]
    file = folder / 'list.json'
    file.write_text(json.dumps(dict(metainfo=dict(classes=['a', 'b', 'c']), data_list=entries)))
    load = dict(type='LoadImageFromFile', **(load or {}))
    return MultiLabelDataset(str(file), data_prefix=str(folder), pipeline=[load, *REST], **kwargs)


@pytest.mark.parametrize(
    'mode, color, load, expected',
    [
        ('RGB', (200, 100, 50), dict(), (200, 100, 50)),
        ('RGB', (200, 100, 50), dict(imdecode_backend='pillow'), (200, 100, 50)),
        ('RGB', (200, 100, 50), dict(to_float32=True), (200, 100, 50)),
        ('RGB', (90, 90, 90), dict(color_type='grayscale'), (90, 90, 90)),
        ('L', 70, dict(), (70, 70, 70)),
        ('L', 70, dict(color_type='unchanged'), (70, 70, 70)),
        ('RGBA', (200, 100, 50, 9), dict(color_type='unchanged'), (200, 100, 50)),
        ('LA', (70, 9), dict(color_type='unchanged', imdecode_backend='pillow'), (70, 70, 70)),
        ('I;16', 999, dict(color_type='unchanged'), (255, 255, 255)),
    ],
)
def test_kinds_of_files(mode, color, load, expected, tmp_path):
    image = Image.new(mode, (5, 4), 0)
    image.paste(color, (2, 0, 5, 4))
    image.save(tmp_path / 'x.png')
    picture = LoadedImages(listed(tmp_path, ['x.png'], load), MODEL)[0]
    assert picture.dtype == np.uint8 and picture.shape == (4, 5, 3)
    assert (picture[:, :2] == 0).all() and (picture[:, 2:] == expected).all()


@pytest.mark.parametrize('color_type, shape', [('color', (8, 16)), ('color_ignore_orientation', (16, 8))])
def test_orientation(color_type, shape, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (8, 16)).save(tmp_path / 'x.jpg', exif=exif)
    assert LoadedImages(listed(tmp_path, ['x.jpg'], dict(color_type=color_type)), MODEL)[0].shape == (*shape, 3)


def test_zip(tmp_path):
    png = io.BytesIO()
    Image.new('RGB', (5, 4), (200, 100, 50)).save(png, 'png')
    with zipfile.ZipFile(tmp_path / 'val.zip', 'w') as archive:
        archive.writestr('n01/x.png', png.getvalue())
    (tmp_path / 'val_map.txt').write_text('n01/x.png\t0')
    load = dict(type='LoadImageFromFile', backend_args=dict(backend='zip'))
    dataset = ZipDataset(str(tmp_path), 'val', num_classes=2, pipeline=[load, *REST])
    assert (LoadedImages(dataset, MODEL)[0] == (200, 100, 50)).all()


def test_images_without_files(tmp_path):
    from mmpretrain.datasets import MNIST

    images = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)
    for name in ('train', 't10k'):
        write_idx(tmp_path / f'{name}-images-idx3-ubyte', images)
        write_idx(tmp_path / f'{name}-labels-idx1-ubyte', np.zeros(2, np.uint8))
    dataset = MNIST(str(tmp_path), test_mode=True, split='test', pipeline=REST)
    assert (LoadedImages(dataset, MODEL)[1] == images[1, ..., None]).all()


@pytest.mark.parametrize('to_rgb, expected', [(False, (200, 100, 50)), (True, (50, 100, 200))])
def test_channels_of_images_without_files(to_rgb, expected, tmp_path):
    """They are in the order that the model takes."""
    dataset = listed(tmp_path, ['x.png'], serialize_data=False)
    dataset.data_list[0]['img'] = np.full((4, 5, 3), (200, 100, 50), np.uint8)
    model = SimpleNamespace(data_preprocessor=SimpleNamespace(to_rgb=to_rgb))
    assert (LoadedImages(dataset, model)[0] == expected).all()


def test_wrapped_datasets(tmp_path):
    """Each image is that of the wrapper's index, loaded as its own dataset does, and the dataset stays as it is."""
    for i in range(4):
        Image.new('RGB', (5, 4), (i, 0, 100)).save(tmp_path / f'{i}.png')
    names = [f'{i}.png' for i in range(4)]
    color, gray = listed(tmp_path, names), listed(tmp_path, names[::-1], dict(color_type='grayscale'))
    whole = dict(type=listed, folder=tmp_path, names=names)
    folds = dict(type=KFoldDataset, dataset=whole, fold=1, num_splits=2, test_mode=True)
    dataset = ConcatDataset([dict(type=RepeatDataset, dataset=color, times=2), gray, folds])
    images = LoadedImages(dataset, MODEL)
    assert len(images) == 8 + 4 + 2
    assert [images[i][0, 0, 0] for i in (0, 3, 5, 12, 13)] == [0, 3, 1, 2, 3]
    assert len(np.unique(images[8])) == 1 and len(np.unique(images[0])) == 2
    assert dataset[0]['inputs'].shape == (3, 9, 9)


def test_folders_of_classes(tmp_path):
    (tmp_path / 'cat').mkdir()
    Image.new('L', (5, 4), 70).save(tmp_path / 'cat/x y ü.png')
    load = dict(type='LoadImageFromFile')
    assert (LoadedImages(CustomDataset(str(tmp_path), pipeline=[load, *REST]), MODEL)[0] == 70).all()


@pytest.mark.parametrize(
    'values, expected',
    [
        (np.array([0, 1000, 65535], np.uint16), [0, 4, 255]),
        (np.array([20, 100], np.uint16), [20, 100]),
        (np.array([0.0, 0.5, 1.0]), [0, 128, 255]),
        (np.array([-1.0, 1.0]), [0, 255]),
        (np.array([True, False]), [255, 0]),
        (np.array([0.0, 0.0]), [0, 0]),
    ],
)
def test_values_beyond_bytes(values, expected):
    assert to_bytes(values).dtype == np.uint8
    assert to_bytes(values).tolist() == expected


@pytest.mark.parametrize(
    'paths, expected',
    [
        (['/d/val/a.jpg', '/d/val/b.jpg'], ['val/a.png', 'val/b.png']),
        (['/d/val/k/cam1/0.png', '/d/val/k/cam2/0.png'], ['k/cam1/0.png', 'k/cam2/0.png']),
        (['/d/a.jpg', '/d/a.png', '/d/a-1.bmp'], ['d/a.png', 'd/a-1.png', 'd/a-1-2.png']),
        (['/one/x/0.png', '/two/x/0.png'], ['one/x/0.png', 'two/x/0.png']),
        (['/d/a.jpg', '/d/a.jpg'], ['d/a.png', 'd/a-1.png']),
        (['/d/../e/a.b.jpg'], ['e/a.b.png']),
        (['/a.jpg', '/b/a.jpg'], ['a.png', 'b/a.png']),
        (['/d/val.zip/n1/x y.JPEG', '/d/val.zip/n2/ü.JPEG'], ['val.zip/n1/x y.png', 'val.zip/n2/ü.png']),
        (['s3://bucket/val/a.jpg', 's3://bucket/val/b.jpg'], ['val/a.png', 'val/b.png']),
        ([None, None, '/d/a.jpg'], ['images/000000.png', 'images/000001.png', 'd/a.png']),
        ([], []),
    ],
)
def test_names(paths, expected):
    assert name_pictures(paths) == expected


def test_targets_that_would_harm_data(tmp_path):
    data, image = tmp_path / 'data', tmp_path / 'data/val/0.png'
    image.parent.mkdir(parents=True)
    Image.new('L', (4, 4)).save(image)
    (tmp_path / 'link').symlink_to(image)
    for target in (image, data / 'val/new.png', tmp_path / 'link', tmp_path / 'x/../data/new.png'):
        with pytest.raises(ValueError, match=r'would be taken for data.*name a file outside of it'):
            check_target(target, [None, str(data)])
    with pytest.raises(FileExistsError, match=r'0\.png exists and is not a picture of an earlier run'):
        check_target(image, [])
    figure, picture = plt.figure(), tmp_path / 'picture.png'
    check_target(picture, [str(data)])
    figure.savefig(picture)
    check_target(picture, [str(data)])
