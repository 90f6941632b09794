"""The op against its definition, written as a loop over pairs of tokens."""

import itertools
import random

import pytest
import torch

from tests.test_ops.cases import DEVICES, MODES, attend, backend_parameters, make
from vil_mm.ops import BACKENDS, sliding_window_attention

NEIGHBORS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]


def pairs(hw_shape, window_size, mask, neighbors):
    """Pairs of a query and a key that it sees, one query after another, as in the published description.

    Yields:
        The query's place on the grid, the key's place or None for a key of zeros, and the pair's row in the bias table.
    """
    (h, w), size = hw_shape, window_size
    chunk_rows, chunk_columns = -(-h // size), -(-w // size)
    offsets = {'all': [(0, 0), *NEIGHBORS], 'self': [(0, 0)]}.get(neighbors) or [(0, 0), NEIGHBORS[neighbors - 1]]
    for qi, qj in itertools.product(range(h), range(w)):
        for (dr, dc), i, j in itertools.product(offsets, range(size), range(size)):
            # where the key would lie if nothing wrapped around
            ki, kj = (qi // size + dr) * size + i, (qj // size + dc) * size + j
            if mask == 'torus':
                if ki % (chunk_rows * size) >= h or kj % (chunk_columns * size) >= w:
                    continue
            elif mask == 'cyclic':
                if h <= ki < chunk_rows * size or w <= kj < chunk_columns * size:
                    continue
            elif not (0 <= ki < h and 0 <= kj < w):
                continue
            if mask == 'exact' and (abs(ki - qi) > size or abs(kj - qj) > size):
                continue
            i_real, j_real = ki % (chunk_rows * size), kj % (chunk_columns * size)
            row, column = qi % size - dr * size - i + 2 * size - 1, qj % size - dc * size - j + 2 * size - 1
            on_grid = i_real < h and j_real < w
            yield qi * w + qj, i_real * w + j_real if on_grid else None, row * (4 * size - 1) + column


def loop(q, k, v, hw_shape, window_size, num_global_tokens, bias_table, global_bias, mask, neighbors, scale):
    """One query at a time (float64, without batch and heads)."""
    output = torch.empty_like(q)
    for query, seen in itertools.groupby(pairs(hw_shape, window_size, mask, neighbors), key=lambda pair: pair[0]):
        scores, values = [], []
        for g in range(num_global_tokens):
            bias = 0 if global_bias is None else global_bias[g]
            scores.append(scale * q[query] @ k[g] + bias)
            values.append(v[g])
        for _, place, row in seen:
            token = num_global_tokens + (place or 0)
            key, value = (k[token], v[token]) if place is not None else (torch.zeros_like(k[0]), torch.zeros_like(v[0]))
            scores.append(scale * q[query] @ key + (0 if bias_table is None else bias_table[row]))
            values.append(value)
        output[query] = torch.stack(scores).softmax(0) @ torch.stack(values)
    return output


def skip_unsupported(backend, mask, hw_shape, window_size):
    """Compiled code does not support the torus where something is padded."""
    padded = any(size % window_size for size in hw_shape)
    if mask == 'torus' and padded and backend not in ('pytorch', 'reference'):
        pytest.skip('only plain PyTorch supports it')


@pytest.mark.parametrize('backend', backend_parameters('cpu', 'pytorch', 'reference'))
@pytest.mark.parametrize('mask, neighbors', [*MODES, ('torus', 'all'), ('torus', 'self'), ('torus', 3)])
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
def test_definition(hw_shape, window_size, num_global_tokens, bias, mask, neighbors, backend):
    skip_unsupported(backend, mask, hw_shape, window_size)
    q, k, v, biases = make(hw_shape, window_size, num_global_tokens, bias)
    settings = dict(num_global_tokens=num_global_tokens, mask=mask, neighbors=neighbors, scale=0.7)
    output = sliding_window_attention(q, k, v, hw_shape, window_size, **biases, **settings, backend=backend)
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


def attend_with(backend, **settings):
    """The op as a function of nothing but its tensors."""

    def attend(q, k, v, bias_table, global_bias):
        biases = dict(bias_table=bias_table, global_bias=global_bias)
        return sliding_window_attention(q, k, v, **settings, **biases, backend=backend)

    return attend


def differentiable(q, k, v, biases):
    return [x.detach().clone().requires_grad_() for x in (q, k, v, *biases.values()) if x is not None]


@pytest.mark.parametrize('backend', backend_parameters('cpu', 'pytorch', 'reference'))
@pytest.mark.parametrize('mask, neighbors', [*MODES, ('torus', 'all'), ('torus', 3)])
@pytest.mark.parametrize('hw_shape, window_size', [((3, 4), 2), ((1, 5), 3), ((4, 3), 1)])
def test_gradients(hw_shape, window_size, mask, neighbors, backend):
    skip_unsupported(backend, mask, hw_shape, window_size)
    inputs = differentiable(*make(hw_shape, window_size, num_global_tokens=1, heads=1, width=2, batch=1))
    settings = dict(hw_shape=hw_shape, window_size=window_size, num_global_tokens=1, mask=mask, neighbors=neighbors)
    assert torch.autograd.gradcheck(attend_with(backend, **settings), inputs)


@pytest.mark.filterwarnings('error')  # PyTorch warns where it differentiates an op on a guess
@pytest.mark.parametrize('backend', ['pytorch', 'reference'])
@pytest.mark.parametrize('mask, neighbors', [('block', 'all'), ('exact', 'all'), ('cyclic', 'all'), ('cyclic', 3)])
def test_second_derivatives(mask, neighbors, backend):
    inputs = differentiable(*make((3, 4), 2, num_global_tokens=1, heads=1, width=2, batch=1))
    settings = dict(hw_shape=(3, 4), window_size=2, num_global_tokens=1, mask=mask, neighbors=neighbors)
    assert torch.autograd.gradgradcheck(attend_with(backend, **settings), inputs)


def test_default_scale():
    q, k, v, biases = make((5, 6), 2, width=9)
    default = sliding_window_attention(q, k, v, (5, 6), 2, **biases)
    explicit = sliding_window_attention(q, k, v, (5, 6), 2, **biases, scale=1 / 3)
    assert torch.equal(default, explicit)


@pytest.mark.parametrize('backend', backend_parameters())
def test_empty_batch(backend):
    inputs = [x.float().to(DEVICES[backend]) for x in differentiable(*make((3, 4), 2, 1, batch=0))]
    output = attend_with(backend, hw_shape=(3, 4), window_size=2, num_global_tokens=1)(*inputs)
    assert output.shape == (0, 2, 12, 4)
    gradients = torch.autograd.grad(output.sum(), inputs)
    assert not gradients[3].any() and not gradients[4].any()


@pytest.mark.parametrize('backend', backend_parameters('cpu', 'pytorch'))
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('factor', [1e4, 1e8, 1e12])
def test_scores_of_any_size(factor, dtype, backend):
    """However large scores are, the softmax sees their differences."""
    q, k, v, _ = make((6, 6), 2, width=8)
    q, k, v = (x.to(dtype) for x in (factor * q, k, v))
    output = sliding_window_attention(q, k, v, (6, 6), 2, backend=backend)
    expected = sliding_window_attention(*(x.double() for x in (q, k, v)), (6, 6), 2, backend='reference')
    torch.testing.assert_close(output, expected.to(dtype))


@pytest.mark.parametrize('backend', backend_parameters('cpu', 'cuda', 'pytorch'))
def test_huge_and_invalid_numbers(backend):
    """A key that outweighs all others takes all the weight; NaN and infinity reach only the queries that see them."""
    q, k, v = (x.float().to(DEVICES[backend]) for x in make((6, 6), 2, width=8)[:3])
    k[:, :, 0] = 1e4 * q[:, :, 7]
    output = sliding_window_attention(q, k, v, (6, 6), 2, backend=backend)
    assert output.isfinite().all()
    torch.testing.assert_close(output[:, :, 7], v[:, :, 0])
    for bad in (float('nan'), float('inf')):
        v[:, :, 35] = bad
        broken = sliding_window_attention(q, k, v, (6, 6), 2, backend=backend).isfinite().all(dim=(0, 1, 3)).view(6, 6)
        assert not broken[2:, 2:].any() and broken[:2].all() and broken[:, :2].all()


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(mask='round'), r"mask='round' is not one of"),
        (dict(neighbors=9), r'neighbors=9 is not one of'),
        (dict(neighbors=True), r'neighbors=True is not one of'),
        (dict(neighbors='random'), r"neighbors='random' is not one of"),
        (dict(mask='exact', neighbors=1), r"neighbors=1 must be 'all'"),
        (dict(window_size=0), r'window_size=0 must be at least 1'),
        (dict(hw_shape=(0, 12)), r'hw_shape=\(0, 12\) must be a height and a width'),
        (dict(hw_shape=(3, 5)), r'q has shape .*must be \(2, 2, 15, 4\)'),
        (dict(num_global_tokens=-1), r'num_global_tokens=-1 must be at least 0'),
        (dict(num_global_tokens=1), r'k has shape .*must be \(2, 2, 13, 4\)'),
        (dict(q=torch.rand(2, 12, 4)), r'q has shape \(2, 12, 4\), must have 4 dimensions'),
        (dict(v=torch.rand(2, 2, 12, 5, dtype=torch.float64)), r'v has shape .*must be'),
        (dict(v=torch.rand(2, 2, 12, 4)), r'v has dtype torch.float32, must be that of q'),
        (dict(bias_table=torch.rand(48, 2)), r'bias_table has shape .*must be \(49, 2\)'),
        (dict(bias_table=torch.ones(49, 2, dtype=torch.long)), r'bias_table has dtype torch.int64'),
        (dict(bias_table=torch.rand(49, 2, device='meta')), r'bias_table is on meta'),
        (dict(hw_shape=(12,)), r'hw_shape=\(12,\) must be a height and a width'),
        (dict(q=torch.rand(2, 2, 12, 4).long()), r'q has dtype torch.int64, must be one of'),
        (dict(q=torch.rand(2, 2, 12, 0)), r'q has shape .* its head width must be at least 1'),
        (
            dict(k=torch.rand(2, 2, 12, 4, device='meta', dtype=torch.float64)),
            r'k is on meta, must be on the device of q',
        ),
        (dict(global_bias=torch.rand(2, 1)), r'global_bias has shape \(2, 1\), must be \(2, 0\)'),
        (dict(bias_table=torch.rand(49, 2).to(torch.float8_e4m3fn)), 'bias_table has dtype torch.float8_e4m3fn, must'),
        (dict(q=torch.rand(2, 2, 12, 4).cfloat()), r'q has dtype torch.complex64, must be one of'),
        (dict(q=[[[[0.0]]]]), 'q is list, must be a Tensor'),
        (dict(k=None), 'k is NoneType, must be a Tensor'),
        (dict(bias_table=[[0.0]]), 'bias_table is list, must be a Tensor'),
        (dict(v=torch.rand(2, 2, 12, 4).double().to_sparse()), 'v is sparse or nested .* must be dense'),
        (dict(bias_table=torch.rand(49, 2).to_sparse_csr()), 'bias_table is sparse or nested .* must be dense'),
        (dict(k=torch.nested.nested_tensor([torch.rand(2, 12, 4)] * 2)), 'k is sparse or nested .* must be dense'),
        (dict(scale=float('nan')), 'scale=nan must be finite'),
        (dict(scale=float('-inf')), 'scale=-inf must be finite'),
        (dict(scale=torch.tensor(0.5, requires_grad=True)), r'scale=tensor\(0\.5.*\) must be a number or None'),
        (dict(scale='0.5'), r"scale='0\.5' must be a number or None"),
        (dict(scale=True), 'scale=True must be a number or None'),
        (dict(window_size=2.0), r'window_size=2\.0 must be an integer'),
        (dict(window_size=True), r'window_size=True must be an integer'),
        (dict(window_size=5000), r'window_size=5000 must be at least 1 and at most 4096'),
        (dict(num_global_tokens=None), r'num_global_tokens=None must be an integer'),
        (dict(num_global_tokens=0.0), r'num_global_tokens=0\.0 must be an integer'),
        (dict(hw_shape='34'), r"hw_shape='34' must be a height and a width, both integers"),
        (dict(hw_shape=12), r'hw_shape=12 must be a height and a width, both integers'),
        (dict(hw_shape=(3.0, 4)), r'hw_shape=\(3\.0, 4\) must be a height and a width, both integers'),
        (dict(hw_shape=(3, 4, 1)), r'hw_shape=\(3, 4, 1\) must be a height and a width'),
        (dict(mask=None), r'mask=None is not one of'),
        (dict(mask=['block']), r"mask=\['block'\] is not one of"),
        (dict(neighbors=1.0), r'neighbors=1\.0 is not one of'),
        (dict(neighbors=torch.tensor(1)), r'neighbors=tensor\(1\) is not one of'),
        (dict(backend=['cpu']), r"backend=\['cpu'\] is not one of"),
    ],
)
@pytest.mark.parametrize('backend', [None, *BACKENDS])
def test_errors(changes, message, backend):
    q, k, v, biases = make((3, 4), 2)
    arguments = dict(q=q, k=k, v=v, hw_shape=(3, 4), window_size=2, backend=backend, **biases)
    with pytest.raises((TypeError, ValueError), match=message):
        sliding_window_attention(**{**arguments, **changes})


@pytest.mark.parametrize('name', ['q', 'k', 'v', 'bias_table', 'global_bias'])
def test_every_other_shape_is_refused(name):
    q, k, v, biases = make((3, 4), 2, num_global_tokens=3, heads=1)
    arguments = dict(q=q, k=k, v=v, **biases)
    shape = arguments[name].shape
    shapes = [[*shape[:i], size, *shape[i + 1 :]] for i in range(len(shape)) for size in (0, 2, shape[i] + 1)]
    for other in [*shapes, [*shape, 1], [1, *shape], shape[1:], shape[:-1], shape[::-1], []]:
        if torch.Size(other) != shape and not (name == 'q' and list(other[1:]) == [1, 12, 4]):
            changed = {**arguments, name: torch.zeros(other, dtype=torch.float64)}
            with pytest.raises(ValueError, match=r'^\w+ has shape '):
                sliding_window_attention(**changed, hw_shape=(3, 4), window_size=2, num_global_tokens=3)


def hostile_cases():
    """Arguments with a NaN or an infinity in a random place, or biases that hide all keys from some queries."""
    random.seed(0)
    torch.manual_seed(0)
    for _ in range(48):
        hw_shape = random.choice([(1, 3), (3, 3), (5, 7), (6, 6), (9, 4), (2, 8)])
        window_size, num_global = random.choice([1, 2, 3]), random.choice([0, 1, 2])
        mask, neighbors = random.choice(MODES)
        q, k, v, biases = make(hw_shape, window_size, num_global, dtype=torch.float32, batch=1)
        tensors = {name: x.clone() for name, x in dict(q=q, k=k, v=v, **biases).items() if x is not None}
        grad_out = torch.randn_like(q)
        place = random.choice(['grad_out', 'hidden', *tensors])
        if place == 'hidden':
            rows = len(tensors['bias_table'])
            tensors['bias_table'][random.choice([0, rows // 2]) :, 0] = float('-inf')
            if num_global:
                tensors['global_bias'][0] = float('-inf')
        else:
            x = {**tensors, 'grad_out': grad_out}[place]
            x[tuple(map(random.randrange, x.shape))] = random.choice([float('nan'), float('inf'), float('-inf')])
        settings = dict(hw_shape=hw_shape, window_size=window_size, num_global_tokens=num_global)
        yield tensors, dict(settings, mask=mask, neighbors=neighbors), grad_out, place


@pytest.mark.parametrize('backend', backend_parameters('cpu', 'cuda', 'pytorch'))
def test_backends_agree_on_nan(backend):
    """In the output and in all gradients."""
    for tensors, settings, grad_out, place in hostile_cases():
        results, expected = (attend(tensors, settings, name, grad_out) for name in (backend, 'reference'))
        for name, result in results.items():
            assert torch.equal(result.isnan(), expected[name].isnan()), (name, place, settings)


@pytest.mark.parametrize('backend', backend_parameters())
def test_where_nan_is(backend):
    """As the docstring says."""
    nan, inf, size = float('nan'), float('inf'), 3
    tensors = dict(zip('qkv', (x.float().to(DEVICES[backend]) for x in make((9, 9), size, width=8)[:3])))
    table = torch.zeros((4 * size - 1) ** 2, 2, device=DEVICES[backend])

    def is_nan(name, value, index):
        """Which numbers of the output are NaN if one number of a tensor, or of the table, is ``value``."""
        changed = {key: x.clone() for key, x in dict(tensors, bias_table=table).items()}
        changed[name][index] = value
        out = sliding_window_attention(**changed, hw_shape=(9, 9), window_size=size, mask='exact', backend=backend)
        return out.isnan().unflatten(2, (9, 9))

    for value in (nan, inf):
        expected = torch.zeros(2, 2, 9, 9, 8, dtype=torch.bool, device=DEVICES[backend])
        expected[0, 1, 8, 8] = True
        assert torch.equal(is_nan('q', value, (0, 1, 80, 5)), expected)  # a query has it
    expected[0, 1, 3:, 3:] = True
    assert torch.equal(is_nan('k', nan, (0, 1, 80, 5)), expected)  # a key has it, also where the mask hides it
    expected[..., [*range(5), 6, 7]] = False
    assert torch.equal(is_nan('v', nan, (0, 1, 80, 5)), expected)  # a channel of a value has it
    assert is_nan('bias_table', -inf, (slice(None), 1))[:, 1].all()  # all keys are hidden
    others = torch.arange(len(table)) != len(table) // 2
    assert not is_nan('bias_table', -inf, (others, 1)).any()  # all but the query's own place


def test_needs_torch_alone():
    from tests.conftest import run_tool

    program = """
import sys, torch
from vil_mm.ops import sliding_window_attention
q = torch.randn(1, 1, 12, 4, requires_grad=True)
sliding_window_attention(q, q, q, (3, 4), 2, backend='pytorch').sum().backward()
# the last one is the compiler, which takes seconds to load
assert not {'mmengine', 'mmcv', 'einops', 'torch._dynamo'} & set(sys.modules)
"""
    run_tool('-c', program)


def test_torus():
    """It is the cyclic mask where nothing is padded, and finds a backend where something is padded."""
    q, k, v, biases = make((6, 9), 3, 1, True)
    settings = dict(hw_shape=(6, 9), window_size=3, num_global_tokens=1)
    cyclic, torus = (sliding_window_attention(q, k, v, mask=m, **settings, **biases) for m in ('cyclic', 'torus'))
    assert torch.equal(cyclic, torus)
    q, k, v, biases = make((7, 9), 3, 1, True)
    settings['hw_shape'] = (7, 9)
    cyclic, torus = (sliding_window_attention(q, k, v, mask=m, **settings, **biases) for m in ('cyclic', 'torus'))
    assert not torch.allclose(cyclic, torus)
    if BACKENDS['cpu'].can_run(q)[0]:
        with pytest.raises(ValueError, match=r"backend='cpu' cannot run: mask='torus' on a grid that is not"):
            sliding_window_attention(q, k, v, mask='torus', backend='cpu', **settings)


def test_transforms():
    """Transforms of torch.func get plain PyTorch, and named kernels are refused: PyTorch would take zeros from them."""
    q, k, v, biases = make((6, 9), 3, 1, True)
    direction = torch.randn_like(q)
    settings = dict(hw_shape=(6, 9), window_size=3, num_global_tokens=1, **biases)

    def derive(backend=None):
        return torch.func.jvp(
            lambda q: sliding_window_attention(q, k, v, backend=backend, **settings), (q,), (direction,)
        )

    torch.testing.assert_close(derive()[1], derive('reference')[1])
    assert derive()[1].abs().max() > 0.01
    if BACKENDS['cpu'].can_run(q)[0]:
        with pytest.raises(ValueError, match=r"backend='cpu' cannot run: transforms of torch\.func"):
            derive('cpu')
