"""tools/benchmarks/compare_versions.py: it counts right, and compares two folders."""

import json
from dataclasses import replace

import pytest

from tests.conftest import ROOT, run_tool
from tests.test_ops.cases import backend_parameters

FOLDER = ROOT / 'tools/benchmarks'


def test_flops(monkeypatch):
    """Only keys on the grid count."""
    monkeypatch.syspath_prepend(str(FOLDER))
    from attention_methods import hidden_keys
    from problem import Shape

    shape = Shape(2, 3, 8, 12, 20, window_size=4)
    seen = (~hidden_keys(shape, 'cpu')).sum().item() * 4**2 + 12 * 20
    assert shape.flops('forward') == 2 * (2 * 2 * 3 * 8) * seen
    assert shape.flops('forward and backward') == 7 * (2 * 2 * 3 * 8) * seen
    # chunks of 4, 4 and 1 columns: the outer ones do not see each other
    assert replace(shape, height=1, width=5, num_global_tokens=0).flops('forward') == 4 * 2 * 3 * 8 * 5 * 5
    assert replace(shape, height=1, width=9, num_global_tokens=0).flops('forward') == 4 * 2 * 3 * 8 * (
        4 * 8 + 4 * 9 + 5
    )


@pytest.mark.slow
@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_compare(backend, tmp_path):
    out = tmp_path / 'out.json'
    options = ['--shapes', 3, '--threads', 1, '--repeats', 1, '--out', out]
    table = run_tool(FOLDER / 'compare_versions.py', ROOT, *options).stdout
    assert table.count('| 14x14 | 1, 1 | float32 | 1 | forward') == 2
    for row in json.loads(out.read_text()):
        assert row['ratios']['base'] == row['base']['median_ms'] / row['new']['median_ms'] > 0
        assert row['ratios']['publication'] > 0 < row['product_gflops']
