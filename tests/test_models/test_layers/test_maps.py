"""Maps in graphs."""

import pytest
import torch

from vil_mm.models.layers import pad_to_multiple, to_map


def test_sizes_in_graphs():
    """Of maps that several stages have padded and halved: one division, so that compiling for all sizes stays fast."""
    sizes = []

    def backend(graph, inputs):
        (output,) = next(node for node in graph.graph.nodes if node.op == 'output').args[0]
        sizes.extend(str(size) for size in output.meta['example_value'].shape[2:])
        return graph.forward

    def halve(x):
        for _ in range(3):
            x = pad_to_multiple(x, 2)[..., ::2, ::2]
        return x

    torch.compiler.reset()
    x = torch.randn(2, 3, 21, 34)
    output = torch.compile(halve, backend=backend, dynamic=True, fullgraph=True)(x)
    torch.testing.assert_close(output, halve(x))
    assert len(sizes) == 2 and all(size.count('//') == 1 for size in sizes)


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
