"""Images in zip files: read in place by many workers, and refused when they are damaged."""

import io
import multiprocessing
import pickle
import zipfile

import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from PIL import Image

from tests.test_configs.helpers import CONFIGS, PATHS, load
from vil_mm.datasets.zip_backend import ZipArchive, ZipBackend, open_archive
from vil_mm.datasets.zip_dataset import ZipDataset

NUM_IMAGES = 40


@pytest.fixture
def folder(tmp_path):
    """A ``train.zip`` whose image ``i`` is of the gray level ``6 * i`` and of class ``i % 3``."""
    with zipfile.ZipFile(tmp_path / 'train.zip', 'w') as archive:
        for i in range(NUM_IMAGES):
            png = io.BytesIO()
            Image.fromarray(np.full((5 + i % 2, 7, 3), 6 * i, np.uint8)).save(png, 'png')
            archive.writestr(
                f'n{i % 3}/image {i}.png', png.getvalue(), (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[i % 2]
            )
    write_map(tmp_path, [f'n{i % 3}/image {i}.png\t{i % 3}' for i in range(NUM_IMAGES)])
    return tmp_path


def write_map(folder, lines):
    (folder / 'train_map.txt').write_text('\n'.join(lines))


def build(folder, **kwargs):
    return ZipDataset(str(folder), num_classes=3, **kwargs)


@pytest.mark.parametrize('num_workers', [0, 3])
def test_reads_every_image_once(folder, num_workers):
    init_default_scope('mmpretrain')
    steps = [dict(type='LoadImageFromFile'), dict(type='PackInputs')]
    loader = Runner.build_dataloader(
        dict(
            dataset=dict(type='vil_mm.ZipDataset', data_root=str(folder), num_classes=3, pipeline=steps),
            batch_size=1,
            num_workers=num_workers,
            sampler=dict(type='DefaultSampler', shuffle=True),
        )
    )
    for _ in range(2):
        seen = []
        for batch in loader:
            image, label = batch['inputs'][0], int(batch['data_samples'][0].gt_label)
            level = int(image.unique())
            assert label == level // 6 % 3 and image.shape[1] == 5 + level // 6 % 2
            seen.append(level // 6)
        assert sorted(seen) == list(range(NUM_IMAGES))


@pytest.mark.parametrize('kind', [LoadImageFromFile, 'LoadImageFromFile', 'mmpretrain.LoadImageFromFile'])
def test_any_name_of_the_loading_step(kind, folder):
    init_default_scope('mmpretrain')
    dataset = build(folder, pipeline=[dict(type=kind)])
    assert dataset[1]['img'].shape == (6, 7, 3)


def test_folders_with_names_of_archives(folder, tmp_path):
    inner = tmp_path / 'q.zip'
    inner.mkdir()
    (folder / 'train.zip').rename(inner / 'train.zip')
    (folder / 'train_map.txt').rename(inner / 'train_map.txt')
    assert build(inner, pipeline=[dict(type='LoadImageFromFile')])[2]['img'].shape == (5, 7, 3)


def pipelines():
    """One ImageNet classifier of each training and test pipeline."""
    names = {}
    for name, path in PATHS.items():
        if '_in1k' in name and path.parent.parent == CONFIGS:
            cfg = load(name)
            names.setdefault(str([cfg[f'{split}_dataloader'].dataset.pipeline for split in ('train', 'test')]), name)
    return list(names.values())


@pytest.mark.parametrize('name', pipelines())
def test_any_classifier(name, folder):
    """The type of the dataset is all that changes."""
    cfg = load(name)
    size = 384 if '384px' in name else 224
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        loader.dataset.update(type='vil_mm.ZipDataset', data_root=str(folder), split='train')
        loader.update(num_workers=0, persistent_workers=False, batch_size=4)
        batch = next(iter(Runner.build_dataloader(loader)))
        assert batch['inputs'].shape == (4, 3, size, size)


def test_zip_config():
    cfg, plain = load('vil-small_8xb128_in1k-zip'), load('vil-small_8xb128_in1k')
    for split in ('train', 'val', 'test'):
        dataset = plain[f'{split}_dataloader'].dataset
        assert cfg[f'{split}_dataloader'].dataset == dict(dataset, type='vil_mm.ZipDataset')


def test_classes(folder):
    assert len(ZipDataset(str(folder)).metainfo['classes']) == 1000
    assert build(folder, metainfo=dict(classes=('a', 'b', 'c'))).metainfo['classes'] == ('a', 'b', 'c')
    assert ZipDataset(str(folder), classes=['a', 'b', 'c']).num_classes == 3
    (folder / 'classes.txt').write_text('a\nb\nc\n')
    assert ZipDataset(str(folder), classes=str(folder / 'classes.txt')).metainfo['classes'] == ('a', 'b', 'c')
    with pytest.raises(ValueError, match='num_classes=3, but 2 classes are named'):
        build(folder, metainfo=dict(classes=('a', 'b')))


@pytest.mark.parametrize(
    'line, message',
    [
        ('n0/missing.png\t1', r"train_map.txt, line 2: 'n0/missing.png\\t1': .*train.zip has no file 'n0/missing.png'"),
        ('n0/image 0.png\t3', r'train_map.txt, line 2: .* has class 3, must be 0 to 2'),
        ('n0/image 0.png\t-1', r'train_map.txt, line 2: .* must be the name of an image, a tab and the index'),
        ('n0/image 0.png', r'train_map.txt, line 2: .* must be the name of an image'),
        ('7', r"train_map.txt, line 2: '7' must be the name of an image"),
    ],
)
def test_damaged_map(folder, line, message):
    write_map(folder, ['n0/image 0.png\t0', line])
    with pytest.raises(ValueError, match=message):
        build(folder)


def test_no_images(folder):
    write_map(folder, ['', ' '])
    with pytest.raises(ValueError, match=r'train_map.txt names no images'):
        build(folder)


def test_map_that_is_no_text(folder):
    (folder / 'train_map.txt').write_bytes(b'n0/\xff.png\t0')
    with pytest.raises(ValueError, match=r'train_map.txt is not UTF-8 text'):
        build(folder)


def read_all(archive, repeats, errors):
    for _ in range(repeats):
        for i in range(NUM_IMAGES):
            if not archive.read(f'n{i % 3}/image {i}.png').startswith(b'\x89PNG'):
                errors.put(i)


def test_forked_processes_share_an_open_archive(folder):
    """Positions in a file are shared by forked processes: each must keep its own."""
    context = multiprocessing.get_context('fork')
    archive, errors = open_archive(str(folder / 'train.zip')), context.Queue()
    processes = [context.Process(target=read_all, args=(archive, 50, errors)) for _ in range(3)]
    for process in processes:
        process.start()
    read_all(archive, 50, errors)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0] and errors.empty()


def test_missing_files(folder):
    with pytest.raises(FileNotFoundError, match=r'there is no map file .*val_map.txt'):
        build(folder, split='val')
    (folder / 'train.zip').unlink()
    with pytest.raises(FileNotFoundError, match=r'there is no zip file .*train.zip'):
        build(folder)


@pytest.mark.parametrize('keep', [0, 100, 0.5, -30])
def test_damaged_zip(folder, keep):
    data = (folder / 'train.zip').read_bytes()
    (folder / 'train.zip').write_bytes(data[: int(keep * len(data)) if 0 < keep < 1 else keep])
    with pytest.raises(ValueError, match=r'train.zip is damaged or not a zip file'):
        build(folder)


def test_damaged_image(folder):
    path = folder / 'train.zip'
    data = bytearray(path.read_bytes())
    start = data.index(b'\x89PNG')
    data[start + 20] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"train.zip: 'n0/image 0.png' is damaged: Bad CRC-32"):
        ZipBackend().get(f'{path}/n0/image 0.png')
    assert ZipBackend().get(f'{path}/n1/image 1.png').startswith(b'\x89PNG')


def test_backend_errors(folder):
    with pytest.raises(ValueError, match='must name a zip file and a file in it'):
        ZipBackend().get(folder / 'image.png')
    with pytest.raises(FileNotFoundError, match=r"train.zip has no file 'x.png'"):
        ZipBackend().get(folder / 'train.zip/x.png')


def test_archive_pickles(folder):
    archive = pickle.loads(pickle.dumps(ZipArchive(folder / 'train.zip')))
    assert 'n0/image 0.png' in archive and archive.read('n0/image 0.png')
