"""The datasets of data loaders."""

import importlib
import runpy
import sys

import pytest

from tests.conftest import ROOT
from tests.scenes import DEMOS
from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data
from vil_mm.datasets.checks.loaders import RANKS


@pytest.mark.parametrize('demo', DEMOS)
def test_good_scenes_pass(demo, scenes, messages, config):
    check_data(config(demo), LOADERS)
    assert not messages


def test_datasets_within_datasets(scenes, config):
    cfg = config('upernet')
    dataset = cfg.train_dataloader.dataset
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=dict(type='ConcatDataset', datasets=[dataset, dict(dataset, data_root='x')]),
    )
    with pytest.raises(FileNotFoundError, match='train_dataloader: there is no folder x'):
        check_data(cfg, LOADERS)


@pytest.mark.parametrize(
    'elsewhere', [dict(data_root='s3://bucket'), dict(data_root='x', backend_args=dict(backend='petrel'))]
)
def test_what_is_elsewhere_passes(elsewhere, scenes, config):
    cfg = config('mask-rcnn')
    cfg.train_dataloader.dataset.update(elsewhere)
    check_data(cfg, LOADERS)


@pytest.mark.parametrize('rank', RANKS)
def test_the_first_process_checks(rank, scenes, monkeypatch, config):
    (scenes / 'train/0003.png').unlink()
    monkeypatch.setenv(rank, '1')
    check_data(config('mask-rcnn'), LOADERS)
    monkeypatch.setenv(rank, '0')
    with pytest.raises(FileNotFoundError):
        check_data(config('mask-rcnn'), LOADERS)


@pytest.mark.parametrize('tool, words', [('train', []), ('test', ['checkpoint.pth'])])
def test_the_tools_check_first(tool, words, scenes, config, monkeypatch):
    (scenes / 'label_maps/val/0000.png').unlink()
    path, work_dir = scenes / 'config.json', scenes / 'work'
    config('upernet').dump(path)
    monkeypatch.setattr('sys.argv', [tool, str(path), *words, '--work-dir', str(work_dir)])
    with pytest.raises(FileNotFoundError, match=r'(val|test)_dataloader: 1 of 2 label maps are missing'):
        runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')
    assert not work_dir.exists()


def test_only_zip_files_need_mmpretrain(monkeypatch):
    for name in [name for name in sys.modules if name.startswith('vil_mm.datasets')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    importlib.import_module('vil_mm.datasets.checks')
    with pytest.raises(ImportError, match=r'mmpretrain is not installed. .*"vil_mm\[cls\]"'):
        importlib.import_module('vil_mm.datasets.zip_dataset')
