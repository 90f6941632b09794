"""The converters' commands."""

import runpy

import pytest

from tests.conftest import ROOT


@pytest.fixture
def run_converter(monkeypatch, capsys):
    """Run a command in this process, which takes less time than starting another, and return what it prints."""

    def run(name, *words):
        monkeypatch.setattr('sys.argv', [name, *map(str, words)])
        runpy.run_path(str(ROOT / 'tools/model_converters' / name), run_name='__main__')
        return capsys.readouterr().out

    return run
