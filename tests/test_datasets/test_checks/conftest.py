"""A few scenes of digits, to be damaged, and configs that read them."""

import copy
import functools
import json
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import run_tool
from tests.scenes import DEMOS, on_scenes
from tests.scenes import LOADERS as ALL_LOADERS
from vil_mm.datasets.checks import messages as module

LOADERS = ['train_dataloader', 'val_dataloader']


@contextmanager
def edited(path):
    """The content of a JSON file, which is written back."""
    content = json.loads(path.read_text())
    yield content
    path.write_text(json.dumps(content))


@pytest.fixture(scope='session')
def written_scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    run_tool('tools/dataset_converters/digit_scenes.py', '--root', root, '--num-train', 5, '--num-val', 2)
    return root


@pytest.fixture
def scenes(written_scenes, tmp_path):
    """The folder of the scenes."""
    return shutil.copytree(written_scenes, tmp_path, dirs_exist_ok=True)


@functools.cache
def read_config(demo):
    return on_scenes(DEMOS[demo], Path('scenes'))


@pytest.fixture
def config(scenes):
    """The config of a demo that reads the scenes."""

    def make(demo):
        cfg = copy.deepcopy(read_config(demo))
        for loader in ALL_LOADERS:
            cfg[loader].dataset.data_root = str(scenes)
        for evaluator in ('val_evaluator', 'test_evaluator'):
            if 'ann_file' in cfg[evaluator]:
                cfg[evaluator].ann_file = str(scenes / 'annotations/val.json')
        return cfg

    return make


@pytest.fixture
def messages(monkeypatch):
    """What is logged."""
    logged = []
    monkeypatch.setattr(module, 'print_log', lambda message, *args: logged.append(message))
    return logged
