"""Full attention on the CPU, where the compiled kernels of the sliding window compute it, against plain PyTorch."""

import pytest
import torch

from tests.test_ops.cases import backend_parameters
from vil_mm.models import FullAttention
from vil_mm.models.layers import relative_position_bias


@pytest.mark.parametrize('backend', backend_parameters('cpu'))
@pytest.mark.parametrize('resize_bias', [False, True])
@pytest.mark.parametrize('num_global_tokens', [0, 2])
def test_bias(num_global_tokens, resize_bias, backend, monkeypatch):
    """The biases of the grid's offsets are a part of the window's."""
    grid_size, hw_shape = ((4, 5), (3, 6)) if resize_bias else ((3, 6), (3, 6))
    settings = dict(relative_position_bias=True, resize_bias=resize_bias, grid_size=grid_size)
    attention = FullAttention(24, 2, num_global_tokens=num_global_tokens, **settings).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, num_global_tokens + 18, 24, dtype=torch.float64, requires_grad=True)
    grad_out = torch.randn_like(x)
    tensors = [x, *attention.parameters()]
    used = []

    def count(*args, run=relative_position_bias.sliding_window_attention, **settings):
        used.append(run)
        return run(*args, **settings)

    monkeypatch.setattr(relative_position_bias, 'sliding_window_attention', count)

    def run():
        output = attention(x, hw_shape)
        return [output, *torch.autograd.grad(output, tensors, grad_out)]

    results = run()
    assert len(used) == 1
    monkeypatch.setattr(relative_position_bias, 'attends_in_one_window', lambda *args: False)
    torch.testing.assert_close(results, run())
    assert len(used) == 1
