"""Maps in graphs."""

import torch

from vil_mm.models.layers import pad_to_multiple


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
