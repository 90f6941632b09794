"""The package's types are consistent."""

from mypy import api

from tests.conftest import ROOT


def test_types(monkeypatch, pytestconfig):
    monkeypatch.chdir(ROOT)
    # mypy checks again what has changed since the last run
    output, errors, status = api.run(['--cache-dir', str(pytestconfig.cache.mkdir('mypy'))])
    assert status == 0, output + errors
