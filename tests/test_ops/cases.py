"""What the op's tests share: backends, random arguments, fixed rows, and the rule for errors."""

import itertools
import math

import pytest
import torch

from tests.test_ops.interpreter import patch_once
from vil_mm.ops import BACKENDS, sliding_window_attention, triton_kernels
from vil_mm.ops.checks import NEIGHBORS

MODES = [('exact', 'all'), *itertools.product(['block', 'cyclic'], NEIGHBORS)]
DEVICES = {'cpu': 'cpu', 'cuda': 'cuda', 'reference': 'cpu'}
DEVICES['pytorch'] = 'cuda' if torch.cuda.is_available() else 'cpu'
DEVICES['triton'] = 'cpu' if triton_kernels.is_interpreted() else 'cuda'

if triton_kernels.why_unavailable() is None and triton_kernels.is_interpreted():
    patch_once()


def backend_parameters(*names):
    """Backends as parameters of a test; one that cannot run here is skipped with its reason."""
    parameters = []
    for name in names or BACKENDS:
        reason = BACKENDS[name].unavailable
        if reason is None and DEVICES[name] == 'cuda' and not torch.cuda.is_available():
            reason = 'there is no GPU'
        marks = [pytest.mark.skip(reason=f'backend {name!r}: {reason}')] if reason else []
        parameters.append(pytest.param(name, marks=marks))
    return parameters


def make(
    hw_shape,
    window_size,
    num_global_tokens=0,
    bias=True,
    heads=2,
    width=4,
    batch=2,
    dtype=torch.float64,
    strided=True,
):
    """Random arguments; q, k and v are slices of one product, as the attentions pass them, unless not ``strided``."""
    h, w = hw_shape
    product = torch.randn(batch, num_global_tokens + h * w, 3, heads, width, dtype=torch.float64).to(dtype)
    q, k, v = product.permute(2, 0, 3, 1, 4).unbind(0)
    q = q[:, :, num_global_tokens:]
    if not strided:
        q, k, v = (x.contiguous() for x in (q, k, v))
    biases = dict(bias_table=None, global_bias=None)
    if bias:
        biases['bias_table'] = torch.randn((4 * window_size - 1) ** 2, heads, dtype=torch.float64).to(dtype)
        if num_global_tokens:
            biases['global_bias'] = torch.randn(heads, num_global_tokens, dtype=torch.float64).to(dtype)
    return q, k, v, biases


def map_sizes(window_size):
    """Maps of one row, of one column, smaller than the window, multiples of it, and neither."""
    w = window_size
    large = [(2 * w, 3 * w), (2 * w + 1, 4 * w - 1)] if w <= 8 else [(w, 2 * w), (w + 1, 3 * w - 1)]
    return [(1, 2 * w + 3), (3 * w + 1, 1), (max(1, w - 1), max(1, w // 2)), *large]


def fixed_rows():
    """630 rows: every mode with every window and three maps, cycling through the other settings."""
    turns = {
        'width': itertools.cycle([32, 8, 64, 24, 48, 16, 40, 128, 80, 96, 33]),
        'num_global_tokens': itertools.cycle([1, 0, 4, 1]),
        'bias': itertools.cycle([True, True, True, False, True, True, True, False, True]),
        'strided': itertools.cycle([True, True, False, True, False, True, True]),
        'dtype': itertools.cycle(['float32', 'bfloat16', 'float32', 'float16', 'float32']),
        'heads': itertools.cycle([2, 1, 3, 2, 1, 2, 3, 1, 3, 2, 1, 3, 2]),
    }
    rows = []
    for window_size, (mask, neighbors) in itertools.product([1, 2, 3, 4, 5, 7, 8, 12, 15, 16], MODES):
        for i in range(3):
            # five maps in steps of three: every mode meets all of them
            size = map_sizes(window_size)[(len(rows) + i) % 5]
            rows.append(
                dict(hw_shape=size, window_size=window_size, mask=mask, neighbors=neighbors, batch=1)
                | {name: next(turn) for name, turn in turns.items()}
            )
    return rows


def attend(arguments, settings, backend, grad_out):
    """Output and gradients of all tensors, by name, in float64 on the CPU."""
    device = DEVICES[backend]
    inputs = {name: x.to(device).detach().requires_grad_() for name, x in arguments.items() if x is not None}
    output = sliding_window_attention(**inputs, **settings, backend=backend)
    output.backward(grad_out.to(output))
    return {'output': output.detach().cpu().double()} | {name: x.grad.cpu().double() for name, x in inputs.items()}


def terms_of_global_bias(arguments, settings, output, grad_out):
    """What the gradient of the global bias adds up over images and queries: ``(N, heads, h * w, 2 * G)``.

    By the gradient of a softmax, it is attention weights times ``grad_out @ value``, minus the same weights times
    ``grad_out @ output``.
    """
    q, k, v = (arguments[name] for name in 'qkv')
    num_global, width = settings['num_global_tokens'], q.shape[-1]
    # the weight of a global token is the output if its value is one and all others are zero
    values = torch.zeros(*v.shape[:3], max(width, num_global), dtype=v.dtype)
    values[:, :, :num_global, :num_global] = torch.eye(num_global)
    q, k = (torch.nn.functional.pad(x, (0, values.shape[-1] - width)) for x in (q, k))
    biases = {name: arguments[name] for name in ('bias_table', 'global_bias')}
    outputs = sliding_window_attention(q, k, values, **biases, **settings, scale=width**-0.5, backend='reference')
    weights = outputs[..., :num_global]
    products = grad_out @ v[:, :, :num_global].mT
    return torch.cat([weights * products, -weights * (grad_out * output).sum(-1, keepdim=True)], dim=-1)


def errors_of(row, backend):
    """Errors of a row's results against float64, by name: ours, and plain PyTorch's in the row's precision.

    They are in units of the precision's epsilon, relative to the norm of the result. The gradient of the global bias
    has few numbers, which are sums that may cancel; rounding is in proportion to the terms, so their norm counts if it
    is larger.
    """
    row = dict(row)
    mask, neighbors, dtype = row.pop('mask'), row.pop('neighbors'), getattr(torch, row.pop('dtype'))
    settings = dict(hw_shape=row['hw_shape'], window_size=row['window_size'], mask=mask, neighbors=neighbors)
    settings['num_global_tokens'] = row['num_global_tokens']
    q, k, v, biases = make(**row, dtype=dtype)
    arguments = dict(q=q, k=k, v=v, **biases)
    exact = {name: None if x is None else x.double() for name, x in arguments.items()}
    grad_out = torch.randn(q.shape, dtype=torch.float64).to(dtype)
    expected = attend(exact, settings, 'reference', grad_out)
    if DEVICES[backend] == 'cpu' and backend != 'triton':
        for name, result in attend(exact, settings, backend, grad_out).items():
            assert torch.allclose(result, expected[name], rtol=1e-11, atol=1e-12), f'{name} in float64, in {row}'
    plain = attend(arguments, settings, 'reference', grad_out)
    ours = attend(arguments, settings, backend, grad_out)
    sizes = {name: truth.norm() for name, truth in expected.items()}
    if 'global_bias' in sizes:
        terms = terms_of_global_bias(exact, settings, expected['output'], grad_out.double())
        sizes['global_bias'] = max(sizes['global_bias'], terms.norm())
    # what is zero but for float64's rounding, such as the gradient of queries that see one key, cannot be judged
    units = {name: torch.finfo(dtype).eps * size for name, size in sizes.items() if size > 1e-12 * max(sizes.values())}
    return {
        name: tuple(((result[name] - expected[name]).norm() / unit).item() for result in (ours, plain))
        for name, unit in units.items()
    }


def check_rows(rows, backend):
    """Judge rows: the error is at most twice that of plain PyTorch in the same precision, or the last bit.

    Errors of few numbers, as on a small map, with narrow heads or in gradients
    of biases, are a matter of luck in a single row, and so are those of few
    queries, since all channels share the errors of their weights. There, the
    rule applies to the geometric mean over the rows, and each row's own error
    is only bounded. A row that breaks the rule is drawn anew four times, and
    the mean of its errors counts.
    """
    few = {}
    for row in rows:
        queries = row['batch'] * row['heads'] * row['hw_shape'][0] * row['hw_shape'][1]
        draws = [errors_of(row, backend)]
        if any(ours > 2 * max(plain, 0.5) for ours, plain in draws[0].values()):
            draws += [errors_of(row, backend) for _ in range(4)]  # may be luck
        for name in draws[0]:
            ours, plain = (max(sum(errors) / len(draws), 0.5) for errors in zip(*(draw[name] for draw in draws)))
            is_few = queries < 64 or queries * row['width'] < 2048 or 'bias' in name
            if is_few:
                few.setdefault((name, row['dtype']), []).append(math.log(ours / plain))
            allowed = 32 * plain if is_few else 2 * plain
            assert ours <= allowed, f'{name}: error {ours:.2f} epsilon, plain {plain:.2f}, in {row}'
    for name, ratios in few.items():
        ratio = math.exp(sum(ratios) / len(ratios))
        assert ratio <= 2, f'{name}: the error is {ratio:.2f} times that of plain PyTorch'
