"""The compiled ops: loading, output shapes, gradients and FLOPs."""

import importlib.util

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from .checks import NEIGHBORS
from .reference import count_flops

FORWARD = 'vil_mm::sliding_window_attention_forward'
BACKWARD = 'vil_mm::sliding_window_attention_backward'


def _load() -> str | None:
    """Load ``vil_mm._C``, or say why that fails."""
    spec = importlib.util.find_spec('vil_mm._C')
    if spec is None:
        return (
            'the extension vil_mm._C is not built: with PyTorch, setuptools and a C++ compiler installed, run '
            '`python setup.py build_ext --inplace` in a clone, or install with `pip install --no-build-isolation`'
        )
    try:
        torch.ops.load_library(spec.origin)
    except OSError as error:
        return f'the extension vil_mm._C does not match PyTorch {torch.__version__}, rebuild it: {error}'
    if not hasattr(torch.ops.vil_mm, 'constants'):
        return 'the extension vil_mm._C was built from an older version of vil_mm, rebuild it'
    return None


#: Why the extension is not loaded, or None.
LOAD_ERROR = _load()
#: Codes and limits of the compiled code, see ``csrc/ops.cpp``; empty if it is not loaded.
CONSTANTS = torch.ops.vil_mm.constants() if LOAD_ERROR is None else {}


def has_kernels(device: str) -> bool:
    """Whether the extension is loaded and has kernels for ``'CPU'`` or ``'CUDA'``."""
    return LOAD_ERROR is None and torch._C._dispatch_has_kernel_for_dispatch_key(FORWARD, device)


def encode_neighbors(neighbors: str | int) -> int:
    """Translate ``neighbors`` to the integer that the compiled code takes."""
    if isinstance(neighbors, int):
        return neighbors
    return CONSTANTS['all_neighbors'] if neighbors == 'all' else CONSTANTS['own_chunk']


def sliding_window_attention_compiled(
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
    """Compute :func:`vil_mm.ops.sliding_window_attention` from arguments that have been checked."""
    settings = (*hw_shape, window_size, num_global_tokens, mask, encode_neighbors(neighbors), scale)
    return torch.ops.vil_mm.sliding_window_attention_forward(q, k, v, bias_table, global_bias, *settings)[0]


def _empty_tokens(like: Tensor) -> Tensor:
    """Make a tensor ``(N, heads, tokens, d)`` whose heads can be joined by a view."""
    return like.new_empty([like.shape[i] for i in (0, 2, 1, 3)]).transpose(1, 2)


def _fake_forward(q, k, v, bias_table, global_bias, *settings):
    # float32 would lose digits of the softmax in the backward; on a GPU float64 would be too slow
    dtype = torch.float32 if q.device.type == 'cuda' else torch.float64
    return _empty_tokens(q), q.new_empty(q.shape[:3], dtype=dtype)


def _fake_backward(grad_out, q, k, v, out, lse, bias_table, global_bias, *settings):
    biases = [q.new_empty(0) if bias is None else bias.new_empty(bias.shape) for bias in (bias_table, global_bias)]
    return *(_empty_tokens(x) for x in (q, k, v)), *biases


def _save(ctx, inputs, output) -> None:
    q, k, v, bias_table, global_bias, *ctx.settings = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(q, k, v, *output, bias_table, global_bias)


def _differentiate(ctx, grad_out, _):
    *tensors, bias_table, global_bias = ctx.saved_tensors
    grads = torch.ops.vil_mm.sliding_window_attention_backward(
        grad_out, *tensors, bias_table, global_bias, *ctx.settings
    )
    biases = [grad if bias is not None else None for grad, bias in zip(grads[3:], (bias_table, global_bias))]
    return *grads[:3], *biases, *[None] * len(ctx.settings)


def _refuse_second_derivative(ctx, *grads):
    raise NotImplementedError("second derivatives are available only with backend='pytorch' and backend='reference'")


def _forward_flops(q_shape, k_shape, *args, out_shape=None, **kwargs) -> int:
    window_size, num_global_tokens, _, code = args[5:9]
    neighbors = next(name for name in NEIGHBORS if encode_neighbors(name) == code)
    return count_flops(q_shape, window_size, num_global_tokens, neighbors)


def _backward_flops(
    grad_shape, q_shape, k_shape, v_shape, out_shape_, lse_shape, *args, out_shape=None, **kwargs
) -> int:
    """Count five products where the forward has two: the scores are recomputed."""
    return 5 * _forward_flops(q_shape, k_shape, v_shape, *args) // 2


if LOAD_ERROR is None:
    torch.library.register_fake(FORWARD, _fake_forward)
    torch.library.register_fake(BACKWARD, _fake_backward)
    torch.library.register_autograd(FORWARD, _differentiate, setup_context=_save)
    torch.library.register_autograd(BACKWARD, _refuse_second_derivative)
    register_flop_formula(torch.ops.vil_mm.sliding_window_attention_forward)(_forward_flops)
    register_flop_formula(torch.ops.vil_mm.sliding_window_attention_backward)(_backward_flops)
