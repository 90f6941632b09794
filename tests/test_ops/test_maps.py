"""Tokens as maps and back, in graphs and out of them."""

import pytest
import torch

from vil_mm.models.layers import pad_to_multiple
from vil_mm.ops import cut_windows, join_windows, to_grid, to_map, to_tokens


@pytest.mark.parametrize('hw_shape', [(3, 4), (1, 5), (1, 1)])
@pytest.mark.parametrize('batch', [1, 2])
def test_map_of_graphs(batch, hw_shape):
    """The op gives what the function gives, in new memory, with derivatives of any order."""
    x = torch.randn(batch, hw_shape[0] * hw_shape[1], 6, dtype=torch.float64)[..., 1:4].requires_grad_()
    op, args = torch.ops.vil_mm.to_map, (x, *hw_shape)
    output = op(*args)
    assert torch.equal(output, to_map(x, hw_shape)) and output.is_contiguous(memory_format=torch.channels_last)
    torch.library.opcheck(op.default, args)
    assert torch.autograd.gradcheck(op, args) and torch.autograd.gradgradcheck(op, args)


@pytest.mark.parametrize('hw_shape', [(3, 4), (2, 5), (3, 5), (1, 1)])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_cropped_tokens(hw_shape, memory_format):
    """The tokens of a map without its padding, with derivatives of any order."""
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    op, args = torch.ops.vil_mm.crop_to_tokens, (x, *hw_shape)
    expected = to_tokens(x[..., : hw_shape[0], : hw_shape[1]])
    assert torch.equal(op(*args), expected) and torch.equal(to_tokens(x, hw_shape), expected)
    torch.library.opcheck(op.default, args)
    assert torch.autograd.gradcheck(op, args) and torch.autograd.gradgradcheck(op, args)


def test_tokens_stay_views():
    x = torch.randn(2, 12, 5)
    featmap = to_map(x, (3, 4))
    for tokens in (to_tokens(featmap), to_tokens(featmap, (3, 4))):
        assert torch.equal(tokens, x) and tokens.data_ptr() == x.data_ptr()


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match=r'x has shape \(2, 10, 3\), must be \(N, h \* w, C\) with hw_shape=\(3, 4\)'):
        to_map(torch.randn(2, 10, 3), (3, 4))
    for hw_shape in ((5, 5), (4, 6)):
        with pytest.raises(ValueError, match=r'x has shape \(2, 3, 4, 5\), must be .* at least hw_shape=\(\d, \d\)'):
            to_tokens(torch.randn(2, 3, 4, 5), hw_shape)


def test_one_graph_for_all_padding():
    """Whether a map is padded or not, below or on the right; with the gradient."""

    def convolve(x, hw_shape):
        featmap = pad_to_multiple(to_map(x, hw_shape), 3).square()
        return to_tokens(featmap, hw_shape).sin()

    torch.compiler.reset()
    compiled = torch.compile(convolve, fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for hw_shape in ((4, 7), (6, 5), (4, 6), (3, 9)):
            x = torch.randn(2, hw_shape[0] * hw_shape[1], 11, requires_grad=True)
            outputs = [run(x, hw_shape) for run in (compiled, convolve)]
            torch.testing.assert_close(*outputs)
            torch.testing.assert_close(*(torch.autograd.grad(output.square().sum(), x)[0] for output in outputs))


def test_map_saved_for_the_gradient():
    """Compiled for all sizes; Inductor cannot save a view of a map."""
    weight = torch.randn(5, 32, 3, 3)

    def convolve(x, hw_shape):
        return torch.nn.functional.conv2d(to_map(x, hw_shape), weight).relu()

    torch.compiler.reset()
    compiled = torch.compile(convolve, fullgraph=True, dynamic=True)
    for hw_shape in ((7, 6), (5, 9)):
        x = torch.randn(2, hw_shape[0] * hw_shape[1], 32, requires_grad=True)
        outputs = [run(x, hw_shape) for run in (compiled, convolve)]
        torch.testing.assert_close(*outputs)
        torch.testing.assert_close(*(torch.autograd.grad(output.square().sum(), x)[0] for output in outputs))


@pytest.mark.parametrize('hw_shape', [(6, 6), (5, 9)])
def test_sizes_stay_simple(hw_shape):
    """Those of maps that became tokens and maps again, square ones too, of which PyTorch knows one side only."""
    sizes = []

    def backend(graph, inputs):
        for node in graph.graph.nodes:
            value = node.meta.get('example_value')
            if isinstance(value, torch.Tensor) and value.ndim == 4:
                sizes.append([str(size) for size in value.shape])
        return graph.forward

    def mix(x):
        tokens = to_tokens(x)
        grid = to_grid(tokens, x.shape[2:])
        grid = join_windows(cut_windows(grid, 3), x.shape[2:])
        return to_map(grid.flatten(1, 2), x.shape[2:])

    torch.compiler.reset()
    x = torch.randn(2, 11, *hw_shape)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(mix, backend=backend, dynamic=True, fullgraph=True)(x), x)
    assert len(sizes) > 4 and not any('/' in size or '*' in size for shape in sizes for size in shape)
