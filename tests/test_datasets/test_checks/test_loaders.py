"""The datasets of data loaders."""

import importlib
import runpy
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.conftest import ROOT
from tests.scenes import DEMOS
from tests.test_datasets.test_checks.conftest import LOADERS
from vil_mm.datasets.checks import check_data
from vil_mm.engine import launch
from vil_mm.engine.work_dir import RANKS


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


TOOLS = pytest.mark.parametrize('tool, words', [('train', []), ('test', ['checkpoint.pth'])])


@pytest.fixture
def run(scenes, config, monkeypatch):
    """Run a tool on scenes that lack a label map."""
    (scenes / 'label_maps/val/0000.png').unlink()
    path = scenes / 'config.json'
    config('upernet').dump(path)

    def run(tool, *words):
        monkeypatch.setattr('sys.argv', [tool, str(path), *words, '--work-dir', str(scenes / 'work')])
        runpy.run_path(str(ROOT / f'tools/{tool}.py'), run_name='__main__')

    return run


@TOOLS
def test_the_tools_check_first(tool, words, run, scenes):
    with pytest.raises(SystemExit, match=r'(val|test)_dataloader: 1 of 2 label maps are missing'):
        run(tool, *words)
    assert not (scenes / 'work').exists()


@pytest.fixture
def built(monkeypatch):
    """The configs of the runners that are built, and do nothing."""
    configs = []

    def build(cfg):
        configs.append(cfg)
        return SimpleNamespace(train=lambda: None, test=lambda: None)

    monkeypatch.setattr(launch, 'build_runner', build)
    return configs


@TOOLS
def test_the_checks_can_be_skipped(tool, words, run, built):
    run(tool, *words, '--skip-data-checks')
    assert len(built) == 1


def test_resumed_runs_are_not_checked_again(run, built, scenes, capsys):
    checkpoint = scenes / 'work/epoch_1.pth'
    with pytest.raises(SystemExit, match='1 of 2 label maps are missing'):
        run('train', '--resume')  # there is nothing to resume from
    checkpoint.parent.mkdir(exist_ok=True)
    torch.save({}, checkpoint)
    run('train', '--resume')
    assert len(built) == 1 and built[0].load_from == str(checkpoint)
    assert f'the data are not checked again: resuming from {checkpoint}' in capsys.readouterr().out


def test_only_zip_files_need_mmpretrain(monkeypatch):
    for name in [name for name in sys.modules if name.startswith('vil_mm.datasets')]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, 'mmpretrain', None)
    importlib.import_module('vil_mm.datasets.checks')
    with pytest.raises(ImportError, match=r'mmpretrain is not installed. .*"vil_mm\[cls\]"'):
        importlib.import_module('vil_mm.datasets.zip_dataset')
