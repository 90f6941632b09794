"""Windows of a grid, held against slices of it."""

import pytest
import torch
import torch.nn.functional as F

from vil_mm.ops import cut_windows, fit_windows, join_windows, sample_bilinear

#: Windows that fill the grid, that are too many on either side, or larger than it; and where padding begins.
GRIDS = [
    ((6, 9), 'both', (0, 0)),
    ((5, 7), 'end', (0, 0)),
    ((5, 7), 'both', (0, 1)),
    ((4, 2), 'both', (1, 0)),
    ((1, 1), 'end', (0, 0)),
    ((1, 1), 'both', (1, 1)),
]
OPS = torch.ops.vil_mm


def make_grid(hw_shape, batch=2):
    """Make one whose tokens differ, of which only some channels are used."""
    return torch.randn(batch, *hw_shape, 8, dtype=torch.float64)[..., 1:6]


@pytest.mark.parametrize('hw_shape, padding, before', GRIDS)
def test_equals_slices(hw_shape, padding, before):
    x = make_grid(hw_shape)
    windows = cut_windows(x, 3, padding)
    (h, w), (top, left) = hw_shape, before
    rows, columns = -(-h // 3), -(-w // 3)
    assert fit_windows(h, 3, padding) == (rows, top)
    assert fit_windows(w, 3, padding) == (columns, left)
    padded = F.pad(x, (0, 0, left, 3 * columns - w - left, top, 3 * rows - h - top))
    for i in range(rows):
        for j in range(columns):
            window = padded[:, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
            torch.testing.assert_close(windows[i * columns + j :: rows * columns], window.flatten(1, 2), rtol=0, atol=0)
    assert torch.equal(join_windows(windows, hw_shape, padding), x)


@pytest.mark.parametrize('batch', [0, 1, 2])
@pytest.mark.parametrize('hw_shape, padding, before', [*GRIDS, ((4, 6), 'both', (1, 0))])
def test_ops_of_graphs(hw_shape, padding, before, batch):
    """They give what the functions give, in new memory, with derivatives of any order."""
    x = make_grid(hw_shape, batch).requires_grad_()
    windows = OPS.cut_windows(x, 3, padding)
    assert torch.equal(windows, cut_windows(x, 3, padding))
    grid = OPS.join_windows(windows.detach(), *hw_shape, padding)
    assert torch.equal(grid, x)
    windows = windows.detach().requires_grad_()
    for op, args in [(OPS.cut_windows, (x, 3, padding)), (OPS.join_windows, (windows, *hw_shape, padding))]:
        torch.library.opcheck(op.default, args)
        assert torch.autograd.gradcheck(op, args)
        assert torch.autograd.gradgradcheck(op, args)


def test_one_graph_for_all_grids():
    """Whether windows fill a grid or not; with the gradient."""

    def shift(x):
        windows = cut_windows(x, 3, 'both')
        return join_windows(windows.roll(1, 1), x.shape[1:3], 'both')

    torch.compiler.reset()
    compiled = torch.compile(shift, fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for hw_shape in ((4, 7), (6, 9), (4, 6), (12, 2)):
            x = make_grid(hw_shape).requires_grad_()
            outputs = [run(x) for run in (compiled, shift)]
            torch.testing.assert_close(*outputs)
            torch.testing.assert_close(*(torch.autograd.grad(output.square().sum(), x) for output in outputs))


@pytest.mark.parametrize('shape', [(5, 9, 5), (6, 8, 5), (5, 0, 5)])
def test_windows_of_another_grid(shape):
    with pytest.raises(ValueError, match=r'windows has shape .* cover hw_shape=\(5, 7\)'):
        join_windows(torch.randn(shape), (5, 7))


@pytest.mark.parametrize('name, shape', [('rows', (3, 2, 4)), ('columns', (1, 2, 4)), ('columns', (4, 1, 4))])
def test_samples_of_uneven_grids(name, shape):
    points = dict(rows=torch.zeros(4, 2, 4), columns=torch.zeros(4, 2, 4))
    points[name] = torch.zeros(shape)
    with pytest.raises(ValueError, match=rf'{name} has shape .* must be .* heads=2, .* for each of N=2 grids'):
        sample_bilinear(torch.randn(2, 12, 2, 8), (3, 4), **points)


@pytest.mark.parametrize('hw_shape', [(4, 5), (3, 3)])
def test_samples_of_another_grid(hw_shape):
    points = torch.zeros(2, 1, 1)
    with pytest.raises(ValueError, match=r'values has shape \(2, 16, 1, 1\), must be .* with hw_shape=\(\d, \d\)'):
        sample_bilinear(torch.randn(2, 16, 1, 1), hw_shape, points, points)
