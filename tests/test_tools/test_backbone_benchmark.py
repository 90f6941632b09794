"""tools/benchmarks/backbones.py: its formulations agree, and it runs as a command."""

import json
import sys

import pytest
import torch

from tests.conftest import ROOT, run_tool


@pytest.fixture(scope='module')
def models():
    folder = str(ROOT / 'tools/benchmarks')
    sys.path.insert(0, folder)
    import backbone_models

    yield backbone_models
    sys.path.remove(folder)


def test_publication_formulation_computes_the_same(models):
    run = {name: models.make_run(name, 112, 1, models.INFERENCE) for name in (models.OURS, models.PUBLICATION)}
    torch.testing.assert_close(run[models.PUBLICATION](), run[models.OURS](), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_as_a_command(tmp_path):
    names = ['sliding window', 'Swin-Tiny']
    command = ['tools/benchmarks/backbones.py', '--sizes', 64, '--batch', 1, '--repeats', 1, '--out', tmp_path]
    run_tool(*command, '--models', *names)
    results = json.loads((tmp_path / 'results.json').read_text())
    assert {(row['model'], row['size']) for row in results['rows']} == {(n, 64) for n in names}
    assert all(row['median_ms'] > 0 and row['macs'] > 0 for row in results['rows'])
    assert len(results['ratios']) == 2
    assert (tmp_path / 'comparison.png').stat().st_size > 10_000 and 'Swin-Tiny' in (tmp_path / 'table.md').read_text()
