"""The compiled ops: loading, output shapes, gradients and FLOPs."""

import importlib.util
import sys
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..version import EXTENSION_NEEDS_TORCH
from .reference import count_flops

#: The op as compiled from C++, and as Triton kernels: names of ``NAME_forward`` and ``NAME_backward`` in ``vil_mm``.
COMPILED, TRITON = 'sliding_window_attention', 'sliding_window_attention_triton'
#: Their schemas; a test compares them with those in ``csrc/ops.cpp``.
SETTINGS_SCHEMA = (
    'SymInt height, SymInt width, SymInt window_size, SymInt num_global_tokens, str mask, int neighbors, float scale'
)
FORWARD_SCHEMA = (
    f'(Tensor q, Tensor k, Tensor v, Tensor? bias_table, Tensor? global_bias, {SETTINGS_SCHEMA}) -> (Tensor, Tensor)'
)
BACKWARD_SCHEMA = (
    '(Tensor grad_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, Tensor? bias_table, Tensor? global_bias, '
    f'{SETTINGS_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)'
)
#: ``neighbors`` as the ops take it, an integer; also in ``csrc/geometry.h``, which a test compares.
NEIGHBOR_CODES = {'all': 0, 'self': -1}
#: What ``list_constants`` in ``csrc/ops.cpp`` lists.
CONSTANT_NAMES = ('all_neighbors', 'own_chunk', 'last_neighbor', 'max_window_size', 'max_cuda_head_width')


def _load() -> str | None:
    """Load ``vil_mm._C``, or say why that fails."""
    if torch.__version__ < EXTENSION_NEEDS_TORCH:
        return (
            f'the extension vil_mm._C needs PyTorch {EXTENSION_NEEDS_TORCH} or newer, and this is {torch.__version__}'
        )
    spec = importlib.util.find_spec('vil_mm._C')
    if spec is None and sys.platform == 'win32':
        return 'the extension vil_mm._C cannot be built on Windows yet'
    if spec is None:
        return (
            'the extension vil_mm._C is not built: with setuptools and GCC or Clang installed, run '
            '`pip install --no-build-isolation .` in a clone, or `python setup.py build_ext --inplace` to use that'
        )
    try:
        torch.ops.load_library(spec.origin)
    except OSError as error:
        return f'the extension vil_mm._C does not match PyTorch {torch.__version__}, rebuild it: {error}'
    if not hasattr(torch.ops.vil_mm, 'list_constants'):
        return 'the extension vil_mm._C was built from an older version of vil_mm, rebuild it'
    return None


#: Why the extension is not loaded, or None.
LOAD_ERROR = _load()
#: Limits of the compiled code, see ``csrc/ops.cpp``; empty if it is not loaded.
CONSTANTS = dict(zip(CONSTANT_NAMES, torch.ops.vil_mm.list_constants())) if LOAD_ERROR is None else {}


def has_kernels(device: str) -> bool:
    """Whether the extension is loaded and has kernels for ``'CPU'`` or ``'CUDA'``."""
    return LOAD_ERROR is None and torch._C._dispatch_has_kernel_for_dispatch_key(f'vil_mm::{COMPILED}_forward', device)


def encode_neighbors(neighbors: str | int) -> int:
    """Translate ``neighbors`` to the integer that the ops take."""
    return neighbors if isinstance(neighbors, int) else NEIGHBOR_CODES[neighbors]


def decode_neighbors(code: int) -> str | int:
    """Undo :func:`encode_neighbors`."""
    return next((name for name, known in NEIGHBOR_CODES.items() if known == code), code)


def _run(
    name: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    hw_shape: tuple[int, int],
    window_size: int,
    num_global_tokens: int,
    bias_table: Tensor | None,
    global_bias: Tensor | None,
    mask: str,
    neighbors: str | int,
    scale: float,
) -> Tensor:
    """Compute :func:`vil_mm.ops.sliding_window_attention` by the op ``name`` from arguments that have been checked."""
    settings = (*hw_shape, window_size, num_global_tokens, mask, encode_neighbors(neighbors), scale)
    return getattr(torch.ops.vil_mm, f'{name}_forward')(q, k, v, bias_table, global_bias, *settings)[0]


sliding_window_attention_compiled = partial(_run, COMPILED)
sliding_window_attention_triton = partial(_run, TRITON)


def empty_tokens(like: Tensor) -> Tensor:
    """Make a tensor ``(N, heads, tokens, d)`` whose heads can be joined by a view."""
    return like.new_empty([like.shape[i] for i in (0, 2, 1, 3)]).transpose(1, 2)


def _fake_backward(grad_out, q, k, v, out, lse, bias_table, global_bias, *settings):
    biases = [q.new_empty(0) if bias is None else bias.new_empty(bias.shape) for bias in (bias_table, global_bias)]
    return *(empty_tokens(x) for x in (q, k, v)), *biases


def _save(ctx, inputs, output) -> None:
    q, k, v, bias_table, global_bias, *ctx.settings = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, bias_table, global_bias)


def _refuse_second_derivative(ctx, *grads):
    raise NotImplementedError("second derivatives are available only with backend='pytorch' and backend='reference'")


def _forward_flops(q_shape, k_shape, *args, out_shape=None, **kwargs) -> int:
    window_size, num_global_tokens, _, neighbors = args[5:9]
    return count_flops(q_shape, window_size, num_global_tokens, decode_neighbors(neighbors))


def _backward_flops(
    grad_shape, q_shape, k_shape, v_shape, out_shape_, lse_shape, *args, out_shape=None, **kwargs
) -> int:
    """Count five products where the forward has two: the scores are recomputed."""
    return 5 * _forward_flops(q_shape, k_shape, v_shape, *args) // 2


def _register(name: str, lse_dtype: Callable[[Tensor], torch.dtype]) -> None:
    """Register output shapes, gradients and FLOPs; ``lse_dtype`` chooses the log-sum-exp's precision for ``q``."""
    forward, backward = (f'vil_mm::{name}_{direction}' for direction in ('forward', 'backward'))
    forward_op, backward_op = (
        getattr(torch.ops.vil_mm, f'{name}_{direction}') for direction in ('forward', 'backward')
    )

    def fake_forward(q, k, v, bias_table, global_bias, *settings):
        return empty_tokens(q), q.new_empty(q.shape[:3], dtype=lse_dtype(q))

    def differentiate(ctx, grad_out, _):
        *tensors, bias_table, global_bias = ctx.saved_tensors
        grads = backward_op(grad_out, *tensors, bias_table, global_bias, *ctx.settings)
        biases = [grad if bias is not None else None for grad, bias in zip(grads[3:], (bias_table, global_bias))]
        return *grads[:3], *biases, *[None] * len(ctx.settings)

    torch.library.register_fake(forward, fake_forward)
    torch.library.register_fake(backward, _fake_backward)
    torch.library.register_autograd(forward, differentiate, setup_context=_save)
    torch.library.register_autograd(backward, _refuse_second_derivative)
    register_flop_formula(forward_op)(_forward_flops)
    register_flop_formula(backward_op)(_backward_flops)


def triton_lse_dtype(q: Tensor) -> torch.dtype:
    """Choose the log-sum-exp's precision: float32 would lose digits of a softmax in float32."""
    return torch.float64 if q.dtype == torch.float32 else torch.float32


def allows_tf32() -> bool:
    """Tell whether PyTorch's settings allow products on a GPU to round float32 to TF32."""
    matmul = torch.backends.cuda.matmul
    # asked for the older setting, PyTorch raises an error where this one is in use
    return matmul.fp32_precision == 'tf32' if hasattr(matmul, 'fp32_precision') else matmul.allow_tf32


def _run_triton(direction: str, *args):
    from .triton_kernels import launch  # needs Triton, which is optional

    return getattr(launch, direction)(*args)


if LOAD_ERROR is None:
    # on a GPU float64 would be too slow
    _register(COMPILED, lambda q: torch.float32 if q.device.type == 'cuda' else torch.float64)

_LIBRARY = torch.library.Library('vil_mm', 'FRAGMENT')
# for the compiled code, which has no other access to the settings
_LIBRARY.define('allows_tf32() -> bool')
_LIBRARY.impl('allows_tf32', allows_tf32, 'CompositeExplicitAutograd')
for _direction, _schema in (('forward', FORWARD_SCHEMA), ('backward', BACKWARD_SCHEMA)):
    _LIBRARY.define(f'{TRITON}_{_direction}{_schema}')
    _LIBRARY.impl(f'{TRITON}_{_direction}', partial(_run_triton, _direction), 'CompositeExplicitAutograd')
_register(TRITON, triton_lse_dtype)
