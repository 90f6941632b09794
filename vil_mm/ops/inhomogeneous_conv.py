"""Depthwise convolution with its own kernels at every pixel."""

from collections.abc import Iterator
from functools import reduce
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import Allowed, check_arguments, dims
from .graphs import needs_plain_ops, register_op

OP = 'vil_mm::inhomogeneous_conv2d'


Kernels = Annotated[
    Tensor,
    Allowed(
        lambda weight: weight.ndim == 6 and weight.shape[2] == weight.shape[3] and weight.shape[2] % 2,
        '{} of shape (N, G, k, k, H, W) with an odd k',
    ),
]


@check_arguments
def inhomogeneous_conv2d(x: Annotated[Tensor, dims('N', 'C', 'H', 'W')], weight: Kernels) -> Tensor:
    """Weigh the neighborhood of every pixel by that pixel's own kernels, with zeros beyond the map.

    Neighbors are added one by one, so that memory holds, beside inputs and
    outputs, only a padded copy of one image and a copy of its kernels. Sums are
    at least in float32.

    Args:
        x (Tensor): ``(N, C, H, W)``.
        weight (Tensor): ``(N, G, k, k, H, W)``: each of the ``G`` kernels
            serves ``C / G`` consecutive channels; ``k`` is odd.

    Returns:
        Tensor: Same shape and dtype as ``x``.

    Raises:
        ValueError: If ``weight`` does not fit ``x``.
    """
    batch, channels, *size = x.shape
    if weight.shape[0] != batch or list(weight.shape[4:]) != size or channels % weight.shape[1]:
        raise ValueError(
            f'weight has shape {tuple(weight.shape)}, must be (N, G, k, k, H, W), where G divides C, for x of shape '
            f'(N, C, H, W) = {tuple(x.shape)}'
        )
    dtype = torch.promote_types(x.dtype, torch.float32)
    if needs_plain_ops():
        grouped = x.to(dtype).unflatten(1, (weight.shape[1], -1))
        return sum_neighbors(grouped, weight.to(dtype)).flatten(1, 2).to(x.dtype)
    # A graph holds the op whole, because it loops over images.
    convolve = torch.ops.vil_mm.inhomogeneous_conv2d if torch.compiler.is_compiling() else _InhomogeneousConv.apply
    return convolve(x.to(dtype), weight.to(dtype)).to(x.dtype)


def sum_neighbors(x: Tensor, weight: Tensor) -> Tensor:
    """Weigh the neighborhood of every pixel, all images at once.

    Args:
        x (Tensor): ``(N, G, C, H, W)``.
        weight (Tensor): ``(N, G, k, k, H, W)``, or ones for ``H`` and ``W``;
            ``k`` is odd.

    Returns:
        Tensor: Same shape as ``x``.
    """
    size, (height, width) = weight.shape[2], x.shape[-2:]
    padded = F.pad(x, (size // 2,) * 4)
    return reduce(
        torch.add,
        (
            padded[..., row : row + height, column : column + width] * weight[:, :, None, row, column]
            for row in range(size)
            for column in range(size)
        ),
    )


def _neighbors(image: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Yield views ``(G, C / G, H, W)`` of an image padded by half a kernel, each with its place in the kernel."""
    size, (height, width) = weight.shape[2], weight.shape[-2:]
    for row in range(size):
        for column in range(size):
            yield image[:, :, row : row + height, column : column + width], (row, column)


def _forward(x: Tensor, weight: Tensor) -> Tensor:
    padding = weight.shape[2] // 2
    grouped = x.unflatten(1, (weight.shape[1], -1)).contiguous()
    output = torch.zeros_like(grouped)
    for image, kernels, total in zip(grouped, weight, output):
        image, kernels = F.pad(image, (padding,) * 4), kernels.contiguous()
        for neighbor, (row, column) in _neighbors(image, weight):
            total.addcmul_(neighbor, kernels[:, None, row, column])
    return output.flatten(1, 2)


def _backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    padding = weight.shape[2] // 2
    grouped, grad = (t.unflatten(1, (weight.shape[1], -1)).contiguous() for t in (x, grad))
    grad_x, grad_weight = torch.empty_like(grouped), torch.empty_like(weight, memory_format=torch.contiguous_format)
    for n, (image, kernels) in enumerate(zip(grouped, weight)):
        image, kernels = F.pad(image, (padding,) * 4), kernels.contiguous()
        grad_image = torch.zeros_like(image)
        neighbors = zip(_neighbors(image, weight), _neighbors(grad_image, weight))
        for (neighbor, (row, column)), (grad_neighbor, _) in neighbors:
            grad_neighbor.addcmul_(grad[n], kernels[:, None, row, column])
            torch.sum(grad[n] * neighbor, dim=1, out=grad_weight[n, :, row, column])
        grad_x[n] = grad_image[:, :, padding : -padding or None, padding : -padding or None]
    return grad_x.flatten(1, 2), grad_weight


class _InhomogeneousConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _forward(x, weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        return _backward(grad, *ctx.saved_tensors)


def _fake_backward(grad: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


register_op(OP, _forward, lambda x, weight: x.new_empty(x.shape))
register_op(f'{OP}_backward', _backward, _fake_backward)
torch.library.register_autograd(
    OP,
    lambda ctx, grad: torch.ops.vil_mm.inhomogeneous_conv2d_backward(grad, *ctx.saved_tensors),
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
)
