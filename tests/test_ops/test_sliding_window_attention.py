"""The op against its definition, written as a loop over pairs of tokens."""

import itertools

import pytest
import torch

from vil_mm.ops import sliding_window_attention

NEIGHBORS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def loop(q, k, v, hw_shape, window_size, num_global_tokens, bias_table, global_bias, mask, neighbors, scale):
    """One query at a time, as the published description reads (float64, no batch and no heads)."""
    (h, w), size = hw_shape, window_size
    chunk_rows, chunk_columns = -(-h // size), -(-w // size)
    offsets = {'all': [(0, 0), *NEIGHBORS], 'self': [(0, 0)]}.get(neighbors) or [(0, 0), NEIGHBORS[neighbors - 1]]
    output = torch.empty_like(q)
    for qi, qj in itertools.product(range(h), range(w)):
        scores, values = [], []
        for g in range(num_global_tokens):
            bias = 0 if global_bias is None else global_bias[g]
            scores.append(scale * q[qi * w + qj] @ k[g] + bias)
            values.append(v[g])
        for (dr, dc), i, j in itertools.product(offsets, range(size), range(size)):
            # where the key would lie if nothing wrapped round
            ki, kj = (qi // size + dr) * size + i, (qj // size + dc) * size + j
            if mask == 'cyclic':
                if h <= ki < chunk_rows * size or w <= kj < chunk_columns * size:
                    continue
            elif not (0 <= ki < h and 0 <= kj < w):
                continue
            if mask == 'exact' and (abs(ki - qi) > size or abs(kj - qj) > size):
                continue
            i_real, j_real = ki % (chunk_rows * size), kj % (chunk_columns * size)
            on_grid = i_real < h and j_real < w
            token = num_global_tokens + i_real * w + j_real
            key, value = (k[token], v[token]) if on_grid else (torch.zeros_like(k[0]), torch.zeros_like(v[0]))
            row, column = qi % size - dr * size - i + 2 * size - 1, qj % size - dc * size - j + 2 * size - 1
            bias = 0 if bias_table is None else bias_table[row * (4 * size - 1) + column]
            scores.append(scale * q[qi * w + qj] @ key + bias)
            values.append(value)
        output[qi * w + qj] = torch.stack(scores).softmax(0) @ torch.stack(values)
    return output


def make(hw_shape, window_size, num_global_tokens=0, bias=True, heads=2, width=4, batch=2, dtype=torch.float64):
    """Random arguments; q, k and v are slices of one product, as the attentions pass them."""
    h, w = hw_shape
    product = torch.randn(batch, num_global_tokens + h * w, 3, heads, width, dtype=dtype)
    q, k, v = product.permute(2, 0, 3, 1, 4).unbind(0)
    biases = dict(bias_table=None, global_bias=None)
    if bias:
        biases['bias_table'] = torch.randn((4 * window_size - 1) ** 2, heads, dtype=dtype)
        if num_global_tokens:
            biases['global_bias'] = torch.randn(heads, num_global_tokens, dtype=dtype)
    return q[:, :, num_global_tokens:], k, v, biases


MODES = [('exact', 'all'), *itertools.product(['block', 'cyclic'], ['all', 'self', *range(1, 9)])]


@pytest.mark.parametrize('mask, neighbors', MODES)
@pytest.mark.parametrize(
    'hw_shape, window_size, num_global_tokens, bias',
    [
        ((1, 1), 1, 0, True),
        ((1, 1), 3, 1, True),
        ((1, 9), 2, 0, True),
        ((5, 7), 3, 2, True),
        ((6, 4), 2, 0, False),
        ((4, 5), 7, 1, True),
        ((7, 3), 1, 1, True),
        ((3, 8), 4, 4, False),
    ],
)
def test_definition(hw_shape, window_size, num_global_tokens, bias, mask, neighbors):
    q, k, v, biases = make(hw_shape, window_size, num_global_tokens, bias)
    settings = dict(num_global_tokens=num_global_tokens, mask=mask, neighbors=neighbors, scale=0.7)
    output = sliding_window_attention(q, k, v, hw_shape, window_size, **biases, **settings)
    assert output.shape == q.shape
    for n, head in itertools.product(range(q.shape[0]), range(q.shape[1])):
        table = None if biases['bias_table'] is None else biases['bias_table'][:, head]
        globals_ = None if biases['global_bias'] is None else biases['global_bias'][head]
        expected = loop(
            q[n, head],
            k[n, head],
            v[n, head],
            hw_shape,
            window_size,
            bias_table=table,
            global_bias=globals_,
            **settings,
        )
        torch.testing.assert_close(output[n, head], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('check', [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize('mask, neighbors', [('block', 'all'), ('exact', 'all'), ('cyclic', 'all'), ('cyclic', 3)])
def test_gradients(mask, neighbors, check):
    q, k, v, biases = make((3, 4), 2, num_global_tokens=1, heads=1, width=2, batch=1)
    inputs = [x.detach().clone().requires_grad_() for x in (q, k, v, *biases.values())]

    def attend(q, k, v, bias_table, global_bias):
        return sliding_window_attention(
            q,
            k,
            v,
            (3, 4),
            2,
            num_global_tokens=1,
            bias_table=bias_table,
            global_bias=global_bias,
            mask=mask,
            neighbors=neighbors,
        )

    assert check(attend, inputs)


def test_default_scale_and_backend():
    q, k, v, biases = make((5, 6), 2, width=9)
    default = sliding_window_attention(q, k, v, (5, 6), 2, **biases)
    explicit = sliding_window_attention(q, k, v, (5, 6), 2, **biases, scale=1 / 3, backend='reference')
    assert torch.equal(default, explicit)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes(dtype):
    q, k, v, biases = make((9, 10), 4, num_global_tokens=1)
    expected = sliding_window_attention(q, k, v, (9, 10), 4, num_global_tokens=1, **biases)
    low = [x.to(dtype) for x in (q, k, v)]
    low_biases = {name: x.to(dtype) for name, x in biases.items()}
    output = sliding_window_attention(*low, (9, 10), 4, num_global_tokens=1, **low_biases)
    assert output.dtype == dtype
    error = (output.double() - expected).abs().max() / expected.abs().max()
    assert error < 8 * torch.finfo(dtype).eps


def test_empty_batch():
    q, k, v, biases = make((3, 4), 2, batch=0)
    assert sliding_window_attention(q, k, v, (3, 4), 2, **biases).shape == (0, 2, 12, 4)


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(mask='round'), r"mask='round' is not one of"),
        (dict(neighbors=9), r'neighbors=9 is not one of'),
        (dict(neighbors=True), r'neighbors=True is not one of'),
        (dict(neighbors='random'), r"neighbors='random' is not one of"),
        (dict(mask='exact', neighbors=1), r"neighbors=1 must be 'all'"),
        (dict(window_size=0), r'window_size=0 must be at least 1'),
        (dict(hw_shape=(0, 12)), r'hw_shape=\(0, 12\) must be at least'),
        (dict(hw_shape=(3, 5)), r'q has shape .*must be \(2, 2, 15, 4\)'),
        (dict(num_global_tokens=-1), r'num_global_tokens=-1 must be at least 0'),
        (dict(num_global_tokens=1), r'k has shape .*must be \(2, 2, 13, 4\)'),
        (dict(q=torch.rand(2, 12, 4)), r'q has shape \(2, 12, 4\), must have 4 dimensions'),
        (dict(v=torch.rand(2, 2, 12, 5, dtype=torch.float64)), r'v has shape .*must be'),
        (dict(v=torch.rand(2, 2, 12, 4)), r'v has dtype torch.float32, must be that of q'),
        (dict(bias_table=torch.rand(48, 2)), r'bias_table has shape .*must be \(49, 2\)'),
        (dict(bias_table=torch.ones(49, 2, dtype=torch.long)), r'bias_table has dtype torch.int64'),
        (dict(bias_table=torch.rand(49, 2, device='meta')), r'bias_table is on meta'),
        (dict(backend='abacus'), r"backend='abacus' is not one of"),
    ],
)
def test_errors(changes, message):
    q, k, v, biases = make((3, 4), 2)
    arguments = dict(q=q, k=k, v=v, hw_shape=(3, 4), window_size=2, **biases)
    with pytest.raises(ValueError, match=message):
        sliding_window_attention(**{**arguments, **changes})


def test_needs_torch_alone():
    from tests.conftest import run_tool

    program = "import sys, vil_mm.ops; assert not {'mmengine', 'mmcv', 'einops'} & set(sys.modules)"
    run_tool('-c', program)
