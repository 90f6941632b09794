"""The Triton kernels, run on the CPU by Triton's interpreter, or on a GPU with ``TRITON_INTERPRET=0``."""

import random
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.conftest import run_tool
from tests.test_ops.cases import DEVICES, MODES, attend, backend_parameters, check_rows, fixed_rows, make, map_sizes
from tests.test_ops.test_library import Attend, gradients, tokens
from vil_mm.ops import BACKENDS, _library, sliding_window_attention, triton_kernels
from vil_mm.ops.checks import NEIGHBORS
from vil_mm.ops.reference import chunk_offsets

DEVICE = DEVICES['triton']
interpreted = pytest.mark.skipif(DEVICE != 'cpu', reason="Triton's interpreter is off")


@pytest.fixture(params=backend_parameters('triton'), autouse=True)
def backend(request):
    return request.param


def work(row):
    """About how long the interpreter takes for a row: tiles of queries and keys."""
    size, (height, width) = row['window_size'], row['hw_shape']
    chunks = -(-height // size) * -(-width // size)
    keys = min(len(chunk_offsets(row['neighbors'])) * size**2, 9 * height * width) + row['num_global_tokens']
    return row['batch'] * row['heads'] * chunks * -(-(size**2) // 64) * (2 + -(-keys // 64))


def without_bfloat16(row):
    return row | dict(dtype='float16') if DEVICE == 'cpu' and row['dtype'] == 'bfloat16' else row


@pytest.mark.parametrize('count', [10, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.parametrize('part', range(3))
def test_fixed_rows(part, count):
    """Of each mode the 10 rows that take the least time, the longer ones of these with one head, or all."""
    rows = []
    for mode in MODES[part::3]:
        of_mode = [without_bfloat16(row) for row in fixed_rows() if (row['mask'], row['neighbors']) == mode]
        of_mode = sorted(of_mode, key=work)[:count]
        rows += [row | dict(heads=1) if count == 10 and work(row) > 12 else row for row in of_mode]
    assert len(rows) == 7 * count
    check_rows(rows, 'triton')


@pytest.mark.parametrize('count', [50, pytest.param(500, marks=pytest.mark.slow)])
def test_random_rows(count, pytestconfig, capsys):
    seed = pytestconfig.getoption('--seed')
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    with capsys.disabled():
        print(f'\nthe random rows can be drawn again with --seed {seed}')
    draw = random.Random(seed)
    torch.manual_seed(seed)
    rows = []
    while len(rows) < count:
        window_size = draw.randint(1, 10)
        mask, neighbors = draw.choice([*MODES, *(('torus', neighbors) for neighbors in NEIGHBORS)])
        size = draw.choice(map_sizes(window_size)) if draw.random() < 0.5 else [draw.randint(1, 16) for _ in range(2)]
        row = dict(
            hw_shape=tuple(size),
            window_size=window_size,
            mask=mask,
            neighbors=neighbors,
            batch=draw.randint(1, 2),
            heads=draw.randint(1, 2),
            width=draw.randint(1, 128),
            num_global_tokens=draw.choice([0, 1, 2, 5, 17]),
            bias=draw.random() < 0.75,
            strided=draw.random() < 0.75,
            dtype=draw.choice(['float32', 'bfloat16', 'float16']),
        )
        if work(row) <= 24:  # more would take long
            rows.append(without_bfloat16(row))
    check_rows(rows, 'triton')


@interpreted
def test_interpreter_multiplies_bfloat16_wrongly():
    """If this fails, Triton has mended it: then take bfloat16 into the rows above."""
    import triton
    import triton.language as tl

    @triton.jit
    def multiply(x, out):
        places = tl.arange(0, 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
        tile = tl.load(x + places)
        tl.store(out + places, tl.dot(tile, tile))

    x, out = torch.eye(16, dtype=torch.bfloat16), torch.empty(16, 16)
    multiply[(1,)](x, out)
    assert not torch.equal(out, x.float())
    q = torch.randn(1, 1, 12, 4, dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=r"cannot run: q has dtype torch.bfloat16, which Triton's interpreter"):
        sliding_window_attention(q, q, q, (3, 4), 2, backend='triton')


def test_torus():
    """Also where something is padded, against plain PyTorch in float64."""
    for neighbors in ('all', 'self', 6):
        q, k, v, biases = make((4, 5), 3, 1, heads=1, batch=1, width=16, dtype=torch.float32)
        arguments, grad_out = dict(q=q, k=k, v=v, **biases), torch.randn(q.shape)
        settings = dict(hw_shape=(4, 5), window_size=3, num_global_tokens=1, mask='torus', neighbors=neighbors)
        ours = attend(arguments, settings, 'triton', grad_out)
        expected = attend({name: x.double() for name, x in arguments.items()}, settings, 'reference', grad_out)
        for name, result in ours.items():
            torch.testing.assert_close(result, expected[name], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
def test_log_sum_exp(dtype):
    """A global token whose score is 0 has the weight exp(-lse)."""
    q, k, v, biases = make((5, 4), 2, 3, width=8, dtype=dtype)
    k[:, :, 0], v[..., 0], v[:, :, 0, 0], biases['global_bias'][:, 0] = 0, 0, 1, 0
    tensors = [x.to(DEVICE) for x in (q, k, v, *biases.values())]
    _, lse = torch.ops.vil_mm.sliding_window_attention_triton_forward(*tensors, 5, 4, 2, 3, 'exact', 0, 0.5)
    exact = [x.double() for x in (q, k, v)]
    biases = {name: x.double() for name, x in biases.items()}
    settings = dict(num_global_tokens=3, mask='exact', scale=0.5, backend='reference')
    weights = sliding_window_attention(*exact, (5, 4), 2, **biases, **settings)[..., 0]
    torch.testing.assert_close(lse.cpu().double(), -weights.log(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float16])
@pytest.mark.parametrize(
    'mode, bias, num_global_tokens',
    [(('block', 'all'), True, 1), (('exact', 'all'), False, 0), (('cyclic', 3), True, 0)],
)
def test_opcheck(mode, bias, num_global_tokens, dtype):
    mask, neighbors = mode
    q, k, v, biases = make((3, 4), 2, num_global_tokens, bias, heads=1, batch=1, dtype=dtype)
    tensors = [None if x is None else x.to(DEVICE).requires_grad_() for x in (q, k, v, *biases.values())]
    settings = (3, 4, 2, num_global_tokens, mask, _library.encode_neighbors(neighbors), 0.5)
    forward, backward = (
        getattr(torch.ops.vil_mm, f'sliding_window_attention_triton_{name}') for name in ('forward', 'backward')
    )
    torch.library.opcheck(forward.default, (*tensors, *settings))
    tensors = [None if x is None else x.detach() for x in tensors]
    out, lse = forward(*tensors, *settings)
    arguments = (torch.randn_like(out), *tensors[:3], out, lse, *tensors[3:], *settings)
    torch.library.opcheck(backward.default, arguments)


def test_compile_with_dynamic_shapes():
    module = Attend('triton', neighbors='self')
    compiled = torch.compile(module, fullgraph=True, dynamic=True)
    for batch, hw_shape in [(2, (2, 5)), (1, (3, 4))]:
        x = tokens(hw_shape, 'triton', batch)
        expected, output = module(x, hw_shape), compiled(x, hw_shape)
        torch.testing.assert_close(output, expected)
        torch.testing.assert_close(gradients(module, output), gradients(module, expected))


def test_autocast_and_flops():
    module = Attend('triton', neighbors=5)
    x = tokens((3, 5), 'triton', 1)
    with torch.autocast(DEVICE, torch.float16), FlopCounterMode(display=False) as counter:
        output = module(x, (3, 5))
        output.sum().backward()
    assert output.dtype == torch.float16
    counts = {op.__name__: count for op, count in counter.get_flop_counts()['Global'].items()}
    forward = 4 * 15 * 16 * (2 * 9 + 1)
    assert counts['sliding_window_attention_triton_forward'] == forward
    assert counts['sliding_window_attention_triton_backward'] == 2.5 * forward


def test_second_derivative_is_refused():
    module = Attend('triton', neighbors='self')
    output = module(tokens((2, 3), 'triton', 1), (2, 3))
    (gradient,) = torch.autograd.grad(output.sum(), module.bias_table, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend='reference'"):
        gradient.sum().backward()


def test_results_do_not_vary():
    """They are the same bit for bit in every run, also where the gradient of the bias table is summed in parts."""
    q, k, v, biases = make((3, 8), 2, 2, batch=2, heads=1, width=16, dtype=torch.float16)
    arguments, grad_out = dict(q=q, k=k, v=v, **biases), torch.randn(q.shape)
    settings = dict(hw_shape=(3, 8), window_size=2, num_global_tokens=2, mask='cyclic', neighbors=2)
    first, second = (attend(arguments, settings, 'triton', grad_out) for _ in range(2))
    assert all(torch.equal(result, second[name]) for name, result in first.items())


@pytest.mark.parametrize('limit', [1, 2**30])
def test_parts_of_the_bias_table(limit, monkeypatch):
    """Heads one at a time or all at once, and images and chunks in one part or several: all the same but rounding."""
    from vil_mm.ops.triton_kernels import launch

    q, k, v, biases = make((4, 6), 2, batch=2, heads=2, width=8, dtype=torch.float32)
    arguments, grad_out = dict(q=q, k=k, v=v, bias_table=biases['bias_table']), torch.randn(q.shape)
    settings = dict(hw_shape=(4, 6), window_size=2)
    expected = attend({name: x.double() for name, x in arguments.items()}, settings, 'reference', grad_out)
    monkeypatch.setattr(launch, 'TABLE_BYTES', limit)
    monkeypatch.setattr(launch, 'ITEMS_OF_PART', 5)
    result = attend(arguments, settings, 'triton', grad_out)['bias_table']
    torch.testing.assert_close(result, expected['bias_table'], rtol=1e-5, atol=1e-5)


def test_strides():
    """Any layout is read, tensors with a last stride of 1 in place, and copied otherwise."""
    q, k, v, biases = make((2, 5), 3, 1, heads=2, width=8, dtype=torch.float32)
    biases = {name: x.to(DEVICE) for name, x in biases.items()}
    expected = sliding_window_attention(
        *(x.contiguous().to(DEVICE) for x in (q, k, v)), (2, 5), 3, num_global_tokens=1, **biases, backend='triton'
    )
    layouts = {
        'slices': lambda x: x.to(DEVICE),
        'shifted': lambda x: torch.cat([x.new_zeros(1), x.flatten()]).to(DEVICE)[1:].view(x.shape),
        'last stride': lambda x: x.transpose(2, 3).contiguous().to(DEVICE).transpose(2, 3),
    }
    for name, layout in layouts.items():
        inputs = [layout(x).detach().requires_grad_() for x in (q, k, v)]
        output = sliding_window_attention(*inputs, (2, 5), 3, num_global_tokens=1, **biases, backend='triton')
        assert torch.equal(output, expected), name
    # gradients of an output that was expanded have strides of 0
    output.sum().backward()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_direct_calls_are_checked():
    q, k, v, _ = (x.to(DEVICE) if torch.is_tensor(x) else x for x in make((5, 6), 3, dtype=torch.float32))
    forward = torch.ops.vil_mm.sliding_window_attention_triton_forward
    for arguments, message in [
        ((q, k[:, :, 1:], v, None, None, 5, 6, 3, 0, 'block', 0, 1.0), 'k has shape'),
        ((q, k, v, q[0, :, 0], None, 5, 6, 3, 0, 'block', 0, 1.0), 'bias_table has shape'),
        ((q, k, v, None, None, 5, 6, 0, 0, 'block', 0, 1.0), 'window_size=0 must be at least 1'),
        ((q, k, v, None, None, 5, 6, 3, 0, 'round', 0, 1.0), "mask='round' is not one of"),
        ((q, k, v, None, None, 5, 6, 3, 0, 'block', 9, 1.0), 'neighbors=9 is not one of'),
    ]:
        with pytest.raises(ValueError, match=message):
            forward(*arguments)
    out, lse = forward(q, k, v, None, None, 5, 6, 3, 0, 'block', 0, 1.0)
    backward = torch.ops.vil_mm.sliding_window_attention_triton_backward
    for grad_out, saved, message in [
        (out[:1], (out, lse), 'grad_out has shape'),
        (out, (out, lse[:1]), 'lse has shape'),
    ]:
        with pytest.raises(ValueError, match=message):
            backward(grad_out, q, k, v, *saved, None, None, 5, 6, 3, 0, 'block', 0, 1.0)


def test_refusals():
    for changes, message in [
        (dict(dtype=torch.float64), r'q has dtype torch.float64, must be float32, float16 or bfloat16'),
        (dict(width=129), r'its head width must be at most 128'),
    ]:
        q, k, v, _ = make((2, 2), 2, **(dict(dtype=torch.float32) | changes))
        with pytest.raises(ValueError, match=message):
            sliding_window_attention(*(x.to(DEVICE) for x in (q, k, v)), (2, 2), 2, backend='triton')
    reason = BACKENDS['triton'].can_run(torch.empty(1, 1, 4, 8, device='meta'))[1]
    assert reason.startswith('q is on meta, must be on')


@interpreted
def test_it_serves_only_if_named():
    q = torch.randn(1, 1, 4, 8)
    assert torch.equal(
        sliding_window_attention(q, q, q, (2, 2), 2), sliding_window_attention(q, q, q, (2, 2), 2, backend='cpu')
    )


@pytest.mark.parametrize('direction', ['forward', 'backward'])
def test_schemas_are_those_of_the_compiled_op(direction):
    if _library.LOAD_ERROR:
        pytest.skip(_library.LOAD_ERROR)
    ours, theirs = (
        str(getattr(torch.ops.vil_mm, f'{name}_{direction}').default._schema).split('(', 1)[1]
        for name in (_library.TRITON, _library.COMPILED)
    )
    assert ours == theirs


def test_tf32(monkeypatch):
    """Asked by the setting that PyTorch has; the older one raises an error if the new one was used."""
    from vil_mm.ops.triton_kernels.launch import allows_tf32

    q = SimpleNamespace(dtype=torch.float32, device=torch.device('cuda'))
    monkeypatch.setattr(torch.version, 'hip', None)
    matmul = torch.backends.cuda.matmul
    if hasattr(matmul, 'fp32_precision'):
        before = matmul.fp32_precision
        for precision in ('ieee', 'tf32'):
            matmul.fp32_precision = precision
            assert allows_tf32(q) == (precision == 'tf32')
        matmul.fp32_precision = before
    for allowed in (True, False):
        monkeypatch.setattr(torch.backends.cuda, 'matmul', SimpleNamespace(allow_tf32=allowed))
        assert allows_tf32(q) == allowed
    assert not allows_tf32(SimpleNamespace(dtype=torch.bfloat16, device=q.device))
    assert not allows_tf32(SimpleNamespace(dtype=torch.float32, device=torch.device('cpu')))


WITHOUT_TRITON = """
import sys
sys.modules['triton'] = None  # importing it is an error
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == 'triton' else find(name, *rest)
import torch
from vil_mm.ops import BACKENDS, sliding_window_attention
q = torch.randn(1, 1, 12, 4)
sliding_window_attention(q, q, q, (3, 4), 2)
try:
    sliding_window_attention(q, q, q, (3, 4), 2, backend='triton')
except ValueError as error:
    print(error)
"""


def test_package_works_without_triton():
    assert "backend='triton' cannot run: Triton is not installed" in run_tool('-c', WITHOUT_TRITON).stdout


def test_reasons(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.6.0')
    assert 'PyTorch must be at least 2.7' in triton_kernels.why_unavailable()
    monkeypatch.undo()
    monkeypatch.setenv('PATH', '')
    monkeypatch.delenv('CC', raising=False)
    assert triton_kernels.why_unavailable() is None or DEVICE != 'cpu'
    monkeypatch.setenv('TRITON_INTERPRET', '0')
    assert 'no C compiler' in triton_kernels.why_unavailable()
