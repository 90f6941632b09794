"""The benchmark of sliding-window attention: what it compares is equal, and what it reports is whole."""

import json
import sys
from argparse import Namespace
from dataclasses import replace

import pytest
import torch

from tests.conftest import ROOT, run_tool

FOLDER = ROOT / 'tools/benchmarks'
# As for the scripts themselves, which import one another
sys.path.insert(0, str(FOLDER))
import attention_methods  # noqa: E402
import measure  # noqa: E402
import sliding_window_attention as benchmark  # noqa: E402
import suites  # noqa: E402
from attention_methods import METHODS, Method  # noqa: E402
from problem import DIRECTIONS, Shape, make_inputs  # noqa: E402

CPU = torch.device('cpu')
REFERENCE = METHODS['ours (reference)']
SHAPES = [
    Shape(2, 3, 8, 15, 23, window_size=7),
    Shape(2, 2, 4, 3, 8, window_size=3, num_global_tokens=0),
    Shape(1, 1, 4, 9, 5, window_size=2, num_global_tokens=3),
]


@pytest.mark.parametrize('direction', DIRECTIONS)
@pytest.mark.parametrize('name', [attention_methods.PUBLICATION, 'gathered SDPA'])
@pytest.mark.parametrize('shape', SHAPES)
def test_methods_agree(shape, name, direction):
    inputs, grad = make_inputs(shape, torch.float64, CPU)
    result, expected = (
        DIRECTIONS[direction](method.prepare(shape, CPU), inputs, grad) for method in (METHODS[name], REFERENCE)
    )
    torch.testing.assert_close(result, expected)


def test_full_attention_on_one_chunk():
    """There, full and sliding-window attention are the same but for the bias."""
    shape = Shape(2, 3, 8, 5, 7, num_global_tokens=2)
    inputs, _ = make_inputs(shape, torch.float64, CPU)
    inputs = inputs._replace(bias_table=torch.zeros(729, 3).double(), global_bias=torch.zeros(3, 2).double())
    full, expected = (method.prepare(shape, CPU)(inputs) for method in (METHODS['full SDPA'], REFERENCE))
    torch.testing.assert_close(full, expected)


@pytest.mark.slow
@pytest.mark.parametrize('shape', SHAPES)
def test_flex_attention_agrees(shape):
    # Widths under 16 it does not take, nor float64 and a backward on the CPU
    shape = replace(shape, head_dim=16)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    inputs, grad = make_inputs(shape, torch.float32, device)
    directions = DIRECTIONS if device.type == 'cuda' else ['forward']
    for direction in directions:
        result, expected = (
            DIRECTIONS[direction](method.prepare(shape, device), inputs, grad)
            for method in (METHODS['FlexAttention'], REFERENCE)
        )
        torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


def test_a_wrong_method_stops_the_run(monkeypatch):
    def prepare(shape, device):
        attend = METHODS['gathered SDPA'].prepare(shape, device)
        return lambda inputs: attend(inputs._replace(global_bias=torch.zeros_like(inputs.global_bias)))

    monkeypatch.setitem(METHODS, 'wrong', Method(prepare))
    args = Namespace(device='cpu', dtype='float32', methods=['wrong'])
    with pytest.raises(SystemExit, match=r'check, wrong, forward: .* WRONG at Shape'):
        benchmark.check_methods(args, SHAPES[0])


def test_peak_memory_of_known_allocations(tmp_path):
    script = tmp_path / 'known.py'
    script.write_text(
        f'import json, sys; sys.path.insert(0, {str(FOLDER)!r})\n'
        'import numpy, torch\n'
        'from measure import ResidentMemory\n'
        'torch.ones(2**25)\n'
        'memory = ResidentMemory()\n'
        'calls = [lambda: torch.ones(2**24), lambda: numpy.ones(2**22), lambda: None]\n'
        'print(json.dumps(dict(peaks=[memory.peak(call) / 2**20 for call in calls])))\n'
    )
    assert measure.run_in_child(script, {})['peaks'] == pytest.approx([64, 32, 0], abs=2)


def test_stages_of_vil_small():
    acceptance = suites.make_suites('acceptance', 'cuda', None, [], {})
    assert acceptance['acceptance: ViL-Small at 224x224'] == [
        Shape(64, 6, 64, 14, 14), Shape(64, 3, 64, 28, 28), Shape(64, 3, 32, 56, 56)
    ]  # fmt: skip
    stages = suites.make_suites('stages', 'cpu', None, [], {})['ViL-Small at 800x1344']
    assert stages[0] == Shape(1, 12, 64, 25, 42, num_global_tokens=0)
    assert [shape.grid for shape in stages[1:]] == [(50, 84), (100, 168), (200, 336)]


def test_as_a_command(tmp_path):
    methods = ['ours (reference)', attention_methods.PUBLICATION]
    output = run_tool(
        FOLDER / 'sliding_window_attention.py',
        *('--device', 'cpu', '--maps', 7, 14, '--repeats', 2, '--time-limit', 0, '--out', tmp_path),
        *('--methods', *methods),
    ).stdout
    results = json.loads((tmp_path / 'results.json').read_text())
    assert {(check['method'], check['direction']) for check in results['checks']} == {
        (method, direction) for method in methods for direction in DIRECTIONS
    }
    assert all(check['error'] <= check['allowed'] for check in results['checks'])
    assert len(results['rows']) == 2 * 2 * 2
    for row in results['rows']:
        # By the limit of no time, the second map is left out, and says so
        measured = row['height'] == 7
        assert measured == (row['reason'] == '')
        assert not measured or (row['repeats'] == 2 and row['median_ms'] >= row['fastest_ms'] > 0)
        assert (row['peak_extra_bytes'] is not None) == measured
    table = (tmp_path / 'table.md').read_text()
    assert table.count('over the limit of 0 s') == 4 and table.count('| 7x7 |') == 2
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ('time.png', 'memory.png'))
    assert 'WRONG' not in output
