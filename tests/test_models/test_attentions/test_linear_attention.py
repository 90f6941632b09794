"""Linear attention: what its goldens do not tell."""

import pytest
import torch

from vil_mm.models import LinearAttention


def build(**kwargs):
    torch.manual_seed(0)
    attention = LinearAttention(16, 2, **kwargs)
    attention.init_weights()
    return attention


@pytest.mark.parametrize('num_global', [0, 2])
@pytest.mark.parametrize('in_dims', [None, 12])
def test_equals_a_sum_over_all_pairs(num_global, in_dims):
    """Global tokens are tokens like all others."""
    attention = build(num_global_tokens=num_global, in_dims=in_dims, min_denominator=3.0).double()
    torch.nn.init.normal_(attention.temperature)
    x = torch.randn(2, num_global + 15, in_dims or 16, dtype=torch.float64)
    q, k, v = attention.split_heads(attention.qkv(x))
    weights = q.relu() @ k.relu().mT
    total = weights.sum(-1, keepdim=True)
    assert 0 < (total < 3).double().mean() < 1
    out = attention.temperature * (weights / total.clamp(min=3) @ v)
    expected = attention.proj(out.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, (3, 5)), expected)


def test_clamped_denominators_are_constants():
    attention = build().double()
    x = 0.1 * torch.randn(1, 6, 16, dtype=torch.float64)
    exact = attention(x, (2, 3))
    attention.min_denominator = 50.0
    torch.testing.assert_close(
        (attention(x, (2, 3)) - attention.proj.bias) / 2, exact - attention.proj.bias, rtol=1e-9, atol=0
    )


def test_is_linear_in_the_number_of_tokens():
    """No tensor grows with the number of pairs of tokens."""
    from torch.utils.flop_counter import FlopCounterMode

    attention, flops = build(), []
    for side in (16, 32):
        with FlopCounterMode(display=False) as counter:
            attention(torch.randn(1, side * side, 16), (side, side))
        flops.append(counter.get_total_flops())
    assert flops[1] == 4 * flops[0]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_sums_are_safe_under_autocast(dtype):
    """The sums of this input exceed what float16 holds."""
    attention = build().double()
    torch.nn.init.ones_(attention.qkv.weight)
    x = 1 + torch.rand(1, 64 * 64, 16, dtype=torch.float64)
    _, k, v = attention.split_heads(attention.qkv(x))
    assert (k.mT @ v).max() > 65504
    exact = attention(x, (64, 64))
    attention.float()
    with torch.autocast('cpu', dtype=dtype):
        out = attention(x.float(), (64, 64))
    assert out.dtype == dtype
    assert (out - exact).abs().max() < 0.02 * exact.abs().max()


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(min_denominator=0), 'min_denominator=0 must be a positive'),
        (dict(min_denominator=float('nan')), 'min_denominator=nan must be a positive'),
        (dict(attn_drop=0.1), r'attn_drop=0.1 must be 0'),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


def test_tokens_must_fit_the_grid():
    with pytest.raises(ValueError, match=r'x has shape \(1, 6, 16\), must be \(N, 7, 16\)'):
        build(num_global_tokens=1)(torch.zeros(1, 6, 16), (2, 3))
