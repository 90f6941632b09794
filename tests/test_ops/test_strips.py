"""Plain PyTorch in strips: the same for any size of strip, within little memory."""

import sys

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import ROOT
from tests.test_ops.cases import attend, make
from vil_mm.ops import sliding_window_attention, strips
from vil_mm.ops.backends import BACKENDS
from vil_mm.ops.choice import choose_backend


@pytest.mark.parametrize('chunks', [0, 1, 2, 5, 6, 11, 1000])
@pytest.mark.parametrize('mask, neighbors', [('block', 'all'), ('exact', 'all'), ('cyclic', 6), ('torus', 'all')])
def test_any_size_of_strip(mask, neighbors, chunks, monkeypatch):
    """Strips of part of a row of chunks, of one row, of several, and of several images."""
    hw_shape, window_size, heads, width = (10, 14), 3, 2, 4
    num_keys = 1 + len(strips.chunk_offsets(neighbors)) * window_size**2
    monkeypatch.setattr(strips, 'STRIP_BYTES_ON_CPU', chunks * heads * num_keys * (window_size**2 + 2 * width) * 8)
    q, k, v, biases = make(hw_shape, window_size, 1, heads=heads, width=width, batch=6)
    arguments, grad_out = dict(q=q, k=k, v=v, **biases), torch.randn_like(q)
    settings = dict(hw_shape=hw_shape, window_size=window_size, num_global_tokens=1, mask=mask, neighbors=neighbors)
    rectangles = list(strips._Strips(q, *hw_shape, window_size, 1, mask, str(neighbors)).rectangles(1))
    # 4 x 5 chunks
    assert len(rectangles) == {0: 20, 1: 20, 2: 12, 5: 4, 6: 4, 11: 2, 1000: 1}[chunks]
    ours, expected = (attend(arguments, settings, backend, grad_out) for backend in ('pytorch', 'reference'))
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_attention_on_gpus(dtype):
    """Where PyTorch's fused function is not used, products do what it does."""
    query, key, value = (torch.randn(2, 3, tokens, 8, dtype=dtype) for tokens in (4, 6, 6))
    mask = torch.randn(3, 4, 6, dtype=torch.promote_types(dtype, torch.float32)).masked_fill(
        torch.eye(4, 6) > 0, -torch.inf
    )
    expected = F.scaled_dot_product_attention(*(x.double() for x in (query, key, value)), mask.double(), scale=0.3)
    found = strips._attend_by_products(query, key, value, mask, 0.3)
    eps = torch.finfo(dtype).eps
    assert found.dtype == dtype and torch.allclose(found.double(), expected, rtol=8 * eps, atol=8 * eps)


def test_inputs_stay():
    """Strips are written in place of queries, but not of the caller's."""
    for hw_shape, window_size in [((4, 6), 1), ((8, 4), 4), ((1, 1), 1)]:
        inputs = [x.contiguous() for x in make(hw_shape, window_size, batch=1, heads=1)[:3]]
        before = [x.clone() for x in inputs]
        inputs[0].requires_grad_()
        sliding_window_attention(*inputs, hw_shape, window_size, backend='pytorch').sum().backward()
        assert all(torch.equal(x, y) for x, y in zip(inputs, before))


def test_exported_programs_do_not_need_this_package():
    q, k, v, biases = make((5, 6), 3, 1)

    class Attend(torch.nn.Module):
        def forward(self, q, k, v):
            return sliding_window_attention(q, k, v, (5, 6), 3, num_global_tokens=1, **biases, backend='pytorch')

    program = torch.export.export(Attend(), (q, k, v))
    ops = {str(node.target) for node in program.graph.nodes if node.op == 'call_function'}
    assert 'aten.softmax.int' in ops and not any('vil_mm' in op for op in ops)
    torch.testing.assert_close(program.module()(q, k, v), Attend()(q, k, v))


def test_it_is_chosen_where_nothing_compiled_runs():
    q = torch.randn(1, 1, 12, 4)
    assert choose_backend(None, q, 'torus') is BACKENDS['pytorch']
    assert choose_backend(None, q.to('meta'), 'block') is BACKENDS['pytorch']


@pytest.mark.skipif(sys.platform != 'linux', reason='peak memory is measured by /proc')
def test_memory():
    """At most a third of what the publication's algorithm takes."""
    sys.path.insert(0, str(ROOT / 'tools/benchmarks'))
    import measure

    shape = dict(batch=1, heads=3, head_dim=32, height=112, width=112)
    job = dict(shape=shape, dtype='float32', threads=1, directions=['forward', 'forward and backward'], limit=2**31)
    ours, publication = (
        measure.run_in_child(ROOT / 'tools/benchmarks/peak_memory.py', dict(job, method=method))
        for method in ('ours (pytorch)', "publication's algorithm")
    )
    for direction in job['directions']:
        assert ours[direction] < publication[direction] / 3
