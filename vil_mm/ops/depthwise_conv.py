"""Depthwise convolution with one set of kernels for the batch, or one for each image."""

from functools import reduce
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import Allowed, check_arguments, dims
from .graphs import needs_plain_ops, register_op
from .inhomogeneous_conv import sum_neighbors

OP = 'vil_mm::depthwise_conv2d'
#: How many pixels a kernel's gradient sums at once: few enough for float32 to stay precise.
PIXELS_PER_SUM = 1024
#: Kernel size from which, and numbers per image above which, this gradient is faster than PyTorch's.
FASTER_FROM_SIZE, FASTER_ABOVE = 5, 2**14


Kernels = Annotated[
    Tensor,
    Allowed(
        lambda weight: weight.ndim in (3, 4) and weight.shape[-1] == weight.shape[-2] and weight.shape[-1] % 2,
        '{} of shape (C, k, k) or (N, C, k, k) with an odd k',
    ),
]


@check_arguments
def depthwise_conv2d(
    x: Annotated[Tensor, dims('N', 'C', 'H', 'W')], weight: Kernels, bias: Annotated[Tensor, dims('C')] | None = None
) -> Tensor:
    """Convolve every channel with its own kernel, zero-padding the map so that it keeps its size.

    On the CPU, the gradient of large kernels is computed as a convolution whose
    kernel is the output's gradient. On large maps in the memory format
    ``torch.channels_last`` this is several times faster than PyTorch's own
    gradient.

    Args:
        x (Tensor): ``(N, C, H, W)``.
        weight (Tensor): ``(C, k, k)``, or ``(N, C, k, k)`` if every image has
            its own kernels; ``k`` is odd.
        bias (Tensor, optional): ``(C,)``.

    Returns:
        Tensor: Same shape as ``x``.

    Raises:
        ValueError: If ``weight`` or ``bias`` does not fit ``x``.
    """
    batch, channels = x.shape[:2]
    if weight.shape[-3] != channels or (weight.ndim == 4 and weight.shape[0] != batch):
        raise ValueError(
            f'weight has shape {tuple(weight.shape)}, must be (C, k, k) or (N, C, k, k) for x of shape (N, C, H, W) = '
            f'{tuple(x.shape)}'
        )
    if bias is not None and len(bias) != channels:
        raise ValueError(f'bias has shape {tuple(bias.shape)}, must be ({channels},), as x has {channels} channels')
    if needs_plain_ops() or not batch:
        return _convolve_plainly(x, weight, bias)
    in_graph = torch.compiler.is_compiling()
    # a graph serves maps of any size
    is_large = weight.shape[-1] >= FASTER_FROM_SIZE and (in_graph or x.shape[1:].numel() > FASTER_ABOVE)
    if in_graph and x.is_cpu and (weight.ndim == 4 or (is_large and torch.is_grad_enabled())):
        return _run_op(x, weight, bias)
    if x.is_cpu and torch.is_grad_enabled() and (is_large or weight.ndim == 4):
        return _DepthwiseConv.apply(x, weight, bias)
    return _convolve(x, weight, bias)


def _convolve_plainly(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve by few kinds of ops, which serve batches and maps of any size."""
    if weight.ndim == 3:
        return _convolve(x.contiguous(), weight, bias)  # in channels_last, not maps of one row or column
    output = sum_neighbors(x[:, :, None], weight[..., None, None])[:, :, 0]
    return output if bias is None else output + bias[:, None, None]


def _run_op(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve by an op that a compiled graph holds whole: it loops over images and strips of the map."""
    device = x.device.type
    if torch.is_autocast_enabled(device):
        dtype = torch.get_autocast_dtype(device)
        x, weight, bias = (None if tensor is None else tensor.to(dtype) for tensor in (x, weight, bias))
    return torch.ops.vil_mm.depthwise_conv2d(x, weight, bias)


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padding, channels = weight.shape[-1] // 2, x.shape[1]
    if weight.ndim == 3:
        return F.conv2d(x, weight[:, None], bias, padding=padding, groups=channels)
    if not x.is_cpu:
        return _convolve_at_once(x, weight, bias)
    # Image by image: the CPU is fastest in channels_last, where an image is a slice; a single convolution of all images
    # would need a copy in another format.
    images = zip(x.split(1), weight)
    return torch.cat([F.conv2d(image, w[:, None], bias, padding=padding, groups=channels) for image, w in images])


def _convolve_at_once(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve all images with their own kernels, as groups of a single convolution."""
    batch, channels, size = *x.shape[:2], weight.shape[-1]
    bias = None if bias is None else bias.repeat(batch)
    x = x.reshape(1, batch * channels, *x.shape[2:])
    x = F.conv2d(x, weight.flatten(0, 1)[:, None], bias, padding=size // 2, groups=batch * channels)
    return x.unflatten(1, (batch, channels))[0]


def _convolve_by_output_gradient(x: Tensor, grad: Tensor, kernel_size: int) -> Tensor:
    """Compute the gradient of every image's kernels, ``(N, C, k, k)``."""
    padding = kernel_size // 2
    rows = max(1, PIXELS_PER_SUM // grad.shape[3])
    x = F.pad(x, (padding, padding, padding, padding))
    gradients = []
    for image, kernels in zip(x.split(1), grad.transpose(0, 1).split(1, dim=1)):
        parts = (
            F.conv2d(image[:, :, top : top + part.shape[2] + kernel_size - 1], part, groups=len(part))
            for top, part in zip(range(0, grad.shape[2], rows), kernels.split(rows, dim=2))
        )
        gradients.append(reduce(torch.add, parts))
    return torch.cat(gradients)


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(x, weight, bias)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = (saved.to(grad.dtype) for saved in ctx.saved_tensors)  # dtypes differ under autocast
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _convolve(grad, weight.flip(-2, -1), None)
        if ctx.needs_input_grad[1]:
            grad_weight = _convolve_by_output_gradient(x, grad, weight.shape[-1])
            grad_weight = grad_weight.sum(0) if weight.ndim == 3 else grad_weight
        if ctx.needs_input_grad[2]:
            grad_bias = grad.sum((0, 2, 3))
        return grad_x, grad_weight, grad_bias


def _with_strides_of(tensor: Tensor, like: Tensor) -> Tensor:
    """Copy ``tensor`` if its strides are not those of ``torch.empty_like(like)``, as graphs expect them."""
    expected = torch.empty_like(like)
    return tensor if tensor.stride() == expected.stride() else expected.copy_(tensor)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return _with_strides_of(_convolve(x, weight, bias), x)


def _backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    grad_x = _with_strides_of(_convolve(grad, weight.flip(-2, -1), None), x)
    grad_weight = _convolve_by_output_gradient(x, grad, weight.shape[-1])
    return grad_x, (grad_weight.sum(0) if weight.ndim == 3 else grad_weight).contiguous()


def _save(ctx, inputs, output) -> None:
    x, weight, bias = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, weight)


def _differentiate(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.vil_mm.depthwise_conv2d_backward(grad, *ctx.saved_tensors)
    return *grads, grad.sum((0, 2, 3)) if ctx.has_bias else None


register_op(OP, _forward, lambda x, weight, bias: torch.empty_like(x))
register_op(
    f'{OP}_backward',
    _backward,
    lambda grad, x, weight: (torch.empty_like(x), torch.empty_like(weight, memory_format=torch.contiguous_format)),
)
torch.library.register_autograd(OP, _differentiate, setup_context=_save)
