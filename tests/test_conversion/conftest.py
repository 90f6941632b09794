"""The converters' commands."""

import runpy

import pytest

from tests.conftest import ROOT
from tests.test_hostile_files.readers import make_converter


@pytest.fixture
def run_converter(monkeypatch, capsys):
    """Run a command in this process, which takes less time than starting another, and return what it prints."""

    def run(name, *words):
        monkeypatch.setattr('sys.argv', [name, *map(str, words)])
        runpy.run_path(str(ROOT / 'tools/model_converters' / name), run_name='__main__')
        return capsys.readouterr().out

    return run


@pytest.fixture
def tiny(tmp_path):
    """A published file's tensors of a tiny model, ours, and the options that name its config."""

    def make(family):
        content, key, own, _ = make_converter(family, tmp_path)
        return content[key], own, ['--config', tmp_path / 'config.py']

    return make
