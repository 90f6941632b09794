"""Linear layers by oneDNN, on processors where it is faster than MKL, which PyTorch uses."""

from collections.abc import Mapping
from functools import cache
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..arguments import Allowed, check_arguments, dims
from .choice import backend_of_environment
from .graphs import constant_in_graphs, needs_plain_ops, register_op

OP = 'vil_mm::linear'
#: From how many multiplications on it gains more than the op costs in Python.
FASTER_FROM = 2**22
#: How many products oneDNN sums at once: few enough for the error to stay below twice MKL's.
TERMS_PER_SUM = 768
#: Other tensors, such as quantized weights, have a way of their own.
PLAIN = (Tensor, nn.Parameter)


@cache
def _mkl_lacks_avx512() -> bool:
    """Tell whether MKL leaves AVX-512 unused, as on AMD's processors; older PyTorch does not name the processor."""
    capabilities: Mapping = getattr(torch.cpu, 'get_capabilities', dict)()
    has_both = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    return has_both and 'AMD' in capabilities.get('cpu_name', '') and capabilities.get('avx512_f', False)


@constant_in_graphs
def _prefers_onednn() -> bool:
    may_run = bool(torch.backends.mkldnn.enabled) and backend_of_environment() in (None, 'cpu')
    return may_run and _mkl_lacks_avx512()


@check_arguments
def linear(
    x: Annotated[Tensor, Allowed(lambda x: x.ndim > 0, '{} of shape (..., in)')],
    weight: Annotated[Tensor, dims('out', 'in')],
    bias: Annotated[Tensor, dims('out')] | None = None,
) -> Tensor:
    """Apply a linear layer to the last dimension, with the result of PyTorch's ``linear``.

    In float32 on AMD's processors with AVX-512, oneDNN multiplies instead of
    MKL, which does without AVX-512 there.

    Args:
        x (Tensor): ``(..., in)``.
        weight (Tensor): ``(out, in)``.
        bias (Tensor, optional): ``(out,)``. Defaults to None.

    Returns:
        Tensor: ``(..., out)``.
    """
    if not _takes(x, weight, bias) or needs_plain_ops() or not _prefers_onednn():
        return F.linear(x, weight, bias)
    # a graph serves any number of tokens
    if not torch.compiler.is_compiling() and x.numel() * len(weight) < FASTER_FROM:
        return F.linear(x, weight, bias)
    return torch.ops.vil_mm.linear(x, weight, bias)


def _takes(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Tell whether oneDNN takes these tensors; PyTorch gets all others, and refuses those that do not fit."""
    if torch.jit.is_tracing() or torch.is_autocast_enabled('cpu'):
        return False
    tensors = (x, weight) if bias is None else (x, weight, bias)
    is_plain = all(type(one) in PLAIN and one.is_cpu and one.dtype == torch.float32 for one in tensors)
    fits = x.ndim > 1 and x.shape[-1] == weight.shape[1] and (bias is None or bias.shape == weight.shape[:1])
    return is_plain and fits


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not x.numel():  # oneDNN refuses sums of nothing
        return F.linear(x, weight, bias)
    bias = None if bias is None else bias.contiguous()  # its strides would be ignored
    count = -(-x.shape[-1] // TERMS_PER_SUM)
    multiply = torch.ops.mkldnn._linear_pointwise
    output = None
    for part, weights in zip(x.tensor_split(count, -1), weight.tensor_split(count, -1)):
        if not (weights.is_contiguous() or weights.T.is_contiguous()):
            weights = weights.contiguous()  # with other strides, oneDNN takes a thousand times as long
        if output is None:
            output = multiply(part, weights, bias, 'none', [], '')
        else:
            output = multiply.binary(part, output, weights, None, 'add')
    return output


def _save(ctx, inputs, output) -> None:
    x, weight = inputs[:2]
    ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, weight if ctx.needs_input_grad[0] else None)


def _differentiate(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    multiply = F.linear if needs_plain_ops() else torch.ops.vil_mm.linear
    grad_x = grad_weight = grad_bias = None
    if ctx.needs_input_grad[0]:
        grad_x = multiply(grad, weight.T, None)
    grad = grad.reshape(-1, grad.shape[-1])
    if ctx.needs_input_grad[1]:
        grad_weight = multiply(grad.T, x.reshape(-1, x.shape[-1]).T, None)
    if ctx.needs_input_grad[2]:
        grad_bias = grad.sum(0)
    return grad_x, grad_weight, grad_bias


register_op(
    OP,
    _multiply,
    fake=lambda x, weight, bias: x.new_empty(*x.shape[:-1], weight.shape[0]),
    flops=lambda x_shape, w_shape, *args, out_shape: 2 * out_shape.numel() * w_shape[1],
)
torch.library.register_autograd(OP, _differentiate, setup_context=_save)
