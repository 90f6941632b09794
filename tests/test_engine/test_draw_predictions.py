"""Drawing predictions: every sample gets its own picture, and nothing else is ever overwritten."""

import os
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer
from PIL import Image

from tests.test_engine.test_pictures import listed
from vil_mm.engine.hooks.draw_predictions import DrawPredictionsHook


@pytest.fixture
def data(tmp_path):
    """Images that share names: the last pixel of each tells which one it is."""
    init_default_scope('mmpretrain')
    folder = tmp_path / 'data'
    names = ['val/cam1/0.png', 'val/cam2/0.png', 'val/cam2/0.bmp', 'train/0.png']
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (300, 200), (0, 10 * i, 0)).save(folder / name)
    return folder


def draw(dataset, out_dir, order=None):
    """Draw all samples of a dataset, in batches of two."""
    order = range(len(dataset)) if order is None else order
    batches = [order[i : i + 2] for i in range(0, len(order), 2)]
    runner = SimpleNamespace(
        world_size=1,
        visualizer=UniversalVisualizer(),
        model=SimpleNamespace(),
        test_dataloader=SimpleNamespace(dataset=dataset, batch_sampler=batches),
    )
    hook = DrawPredictionsHook(out_dir)
    hook.before_test(runner)
    for i, batch in enumerate(batches):
        samples = [DataSample().set_pred_label(1).set_pred_score(torch.tensor([0.2, 0.8])) for _ in batch]
        hook.after_test_iter(runner, i, dict(inputs=[]), samples)


def levels(folder):
    """Which image each picture shows."""
    return {str(path.relative_to(folder)): mmcv.imread(path)[-1, -1, 1] // 10 for path in sorted(folder.rglob('*.png'))}


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob('*')) if path.is_file()}


def test_every_sample_has_a_picture(data, tmp_path):
    names = ['val/cam1/0.png', 'val/cam2/0.png', 'val/cam2/0.bmp', 'val/cam1/0.png']
    expected = {'val/cam1/0.png': 0, 'val/cam1/0-3.png': 0, 'val/cam2/0.png': 1, 'val/cam2/0-2.png': 2}
    before = contents(data)
    for order in (None, [2, 0, 1, 3]):  # a second run replaces the pictures
        draw(listed(data, names), tmp_path / 'out', order)
        assert levels(tmp_path / 'out') == expected
    lines = (tmp_path / 'out/pictures.txt').read_text().splitlines()
    assert len(lines) == 4 and lines[2] == f'val/cam2/0-2.png\t{data}/val/cam2/0.bmp'
    (data / 'list.json').unlink()
    assert contents(data) == before


def test_equal_paths_in_two_roots(data, tmp_path):
    draw(ConcatDataset([listed(data / 'val/cam1', ['0.png']), listed(data / 'val/cam2', ['0.png'])]), tmp_path / 'out')
    assert levels(tmp_path / 'out') == {'val/cam1/0.png': 0, 'val/cam2/0.png': 1}


@pytest.mark.parametrize('name', ['.', 'val', 'val/new', 'train', '../link', '../data/val/../shown', '../beside/link'])
def test_folders_of_the_data(name, data, tmp_path, monkeypatch):
    """Refused before anything is drawn: even new files would be taken for data."""
    monkeypatch.chdir(data)
    (tmp_path / 'link').symlink_to(data)
    (tmp_path / 'beside').mkdir()
    (tmp_path / 'beside/link').symlink_to(data / 'val')
    dataset = listed(data, ['val/cam1/0.png', 'val/cam2/0.png'])
    before = contents(data)
    with pytest.raises(ValueError, match=rf'out_dir=.* would get pictures in .*, which belongs to the data in {data}'):
        draw(dataset, name)
    assert contents(data) == before


@pytest.mark.parametrize('root', ['data', 'none'])
def test_folder_above_the_data(root, data, tmp_path):
    """Pictures would get the names of the images."""
    dataset = listed(data / 'val', ['cam1/0.png', 'cam2/0.png'])
    if root == 'none':
        dataset.data_prefix['img_path'] = ''
    before = contents(data)
    with pytest.raises(ValueError, match=rf'which belongs to the data in {data}/val'):
        draw(dataset, data)
    assert contents(data) == before


def test_files_of_others(data, tmp_path):
    """Files that are not listed as pictures stay, also those that a link leads to."""
    dataset = listed(data / 'val/cam1', ['0.png'])
    other = tmp_path / 'other'
    (other / 'cam1').mkdir(parents=True)
    for make in (
        lambda path: path.write_bytes(b'mine'),
        lambda path: path.symlink_to(data / 'val/cam1/0.png'),
        lambda path: path.symlink_to('nowhere'),
    ):
        make(other / 'cam1/0.png')
        before = contents(data)
        with pytest.raises(FileExistsError, match=r'already holds cam1/0.png, which pictures.txt does not list'):
            draw(dataset, other)
        assert contents(data) == before and not (other / 'pictures.txt').exists()
        (other / 'cam1/0.png').unlink()


@pytest.mark.parametrize('link', [os.symlink, os.link])
def test_pictures_that_became_links(link, data, tmp_path):
    """The picture is replaced, not what the link leads to."""
    dataset, out = listed(data / 'val/cam1', ['0.png']), tmp_path / 'out'
    draw(dataset, out)
    (out / 'cam1/0.png').unlink()
    link(data / 'val/cam1/0.png', out / 'cam1/0.png')
    before = contents(data)
    draw(dataset, out)
    assert contents(data) == before and not (out / 'cam1/0.png').is_symlink()


def test_folder_that_cannot_be_made(data, tmp_path):
    """Known before the test, not after its first batch."""
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file'):
        draw(listed(data / 'val/cam1', ['0.png']), tmp_path / 'file')


def test_images_without_files(data, tmp_path):
    dataset = listed(data, ['unused', 'unused'], serialize_data=False)
    for i, info in enumerate(dataset.data_list):
        del info['img_path']
        info['img'] = np.full((200, 300), 10 * i, np.uint8)
    draw(dataset, tmp_path / 'out')
    assert levels(tmp_path / 'out') == {'images/000000.png': 0, 'images/000001.png': 1}


def test_only_the_first_process_draws(data, tmp_path, monkeypatch):
    monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group=None: 1)
    draw(listed(data / 'val/cam1', ['0.png']), tmp_path / 'out')
    assert not (tmp_path / 'out').exists()
