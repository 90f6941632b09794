"""Attention within windows, held against full attention, a window at a time."""

import pytest
import torch
import torch.nn.functional as F

from vil_mm.models import FullAttention, VariedSizeWindowAttention, WindowAttention


def build(cls, **kwargs):
    torch.manual_seed(0)
    attention = cls(8, 2, **kwargs).double()
    attention.init_weights()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention


@pytest.mark.parametrize('in_dims', [None, 12])
@pytest.mark.parametrize('padding', ['end', 'both'])
@pytest.mark.parametrize('num_global', [0, 2])
@pytest.mark.parametrize('bias', [False, True])
def test_equals_full_attention_in_each_window(bias, num_global, padding, in_dims):
    kwargs = dict(num_global_tokens=num_global, in_dims=in_dims, relative_position_bias=bias)
    windowed = build(WindowAttention, window_size=3, padding=padding, **kwargs)
    full = build(FullAttention, grid_size=(3, 3), **kwargs)
    full.load_state_dict(windowed.state_dict())
    x = torch.randn(2, num_global + 5 * 7, in_dims or 8, dtype=torch.float64)
    out = windowed(x, (5, 7))

    globals_, grid = x[:, :num_global], x[:, num_global:].unflatten(1, (5, 7))
    top, left = (0, 1) if padding == 'both' else (0, 0)
    padded = F.pad(grid, (0, 0, left, 2 - left, top, 1 - top))
    expected = torch.zeros(2, 6, 9, 8, dtype=torch.float64)
    for row in range(0, 6, 3):
        for column in range(0, 9, 3):
            window = padded[:, row : row + 3, column : column + 3].flatten(1, 2)
            tokens = full(torch.cat([globals_, window], 1), (3, 3))[:, num_global:]
            expected[:, row : row + 3, column : column + 3] = tokens.unflatten(1, (3, 3))
    expected = expected[:, top : top + 5, left : left + 7].flatten(1, 2)
    torch.testing.assert_close(out[:, num_global:], expected)
    if num_global:
        everywhere = build(FullAttention, **dict(kwargs, relative_position_bias=False))
        state = {name: tensor for name, tensor in windowed.state_dict().items() if 'bias_' not in name}
        everywhere.load_state_dict({name: t for name, t in state.items() if 'relative_position' not in name})
        global_out = everywhere(x, (5, 7))[:, :num_global]
        assert torch.allclose(out[:, :num_global], global_out) is not bias


@pytest.mark.parametrize('num_global', [0, 1])
@pytest.mark.parametrize('cls', [WindowAttention, VariedSizeWindowAttention])
def test_no_images(cls, num_global):
    attention = build(cls, num_global_tokens=num_global, window_size=3)
    x = torch.randn(0, num_global + 35, 8, dtype=torch.float64)
    assert attention(x, (5, 7)).shape == x.shape


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(window_size=0), 'window_size=0 must be'),
        (dict(padding='start'), "padding='start' must be 'end' or 'both'"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        WindowAttention(8, 2, **kwargs)
