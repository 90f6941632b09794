"""The package's types are consistent."""

from mypy import api

from tests.conftest import ROOT


def test_types(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    output, errors, status = api.run(['--cache-dir', str(tmp_path)])
    assert status == 0, output + errors
