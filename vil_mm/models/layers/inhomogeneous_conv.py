"""Depth-wise convolution with other kernels at every pixel."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def inhomogeneous_conv2d(x: Tensor, weight: Tensor) -> Tensor:
    """Sum the neighbourhood of every pixel with weights of its own; outside of the map are zeros.

    Neighbours are taken one by one: beside inputs and outputs, memory holds
    copies of one image, padded, and of its kernels. In half precision, sums are
    in float32.

    Args:
        x (Tensor): ``(N, C, H, W)``.
        weight (Tensor): ``(N, G, k, k, H, W)``: kernels, each of ``C / G``
            channels in a row; ``k`` is odd.

    Returns:
        Tensor: Same shape and dtype as ``x``.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    return _InhomogeneousConv.apply(x.to(dtype), weight.to(dtype)).to(x.dtype)


def _neighbors(image: Tensor, weight: Tensor) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Views of an image padded by half a kernel, ``(G, C / G, H, W)``, each with its place in the kernel."""
    size, (height, width) = weight.shape[2], weight.shape[-2:]
    for row in range(size):
        for column in range(size):
            yield image[:, :, row : row + height, column : column + width], (row, column)


class _InhomogeneousConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        padding = weight.shape[2] // 2
        grouped = x.unflatten(1, (weight.shape[1], -1)).contiguous()
        output = torch.zeros_like(grouped)
        for image, kernels, total in zip(grouped, weight, output):
            image, kernels = F.pad(image, (padding,) * 4), kernels.contiguous()
            for neighbor, (row, column) in _neighbors(image, weight):
                total.addcmul_(neighbor, kernels[:, None, row, column])
        return output.flatten(1, 2)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
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
