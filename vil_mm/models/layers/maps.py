"""Feature maps: padding them, and turning them into tokens and back."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ...arguments import Size, check_arguments, dims
from ...ops.graphs import is_compiled, is_padding, needs_plain_ops, register_op

FeatureMap = Annotated[Tensor, dims('N', 'C', 'h', 'w')]
Tokens = Annotated[Tensor, dims('N', 'L', 'C')]


@check_arguments
def grid_of(x: FeatureMap) -> tuple[int, int]:
    """Height and width of a feature map ``(N, C, h, w)``."""
    return x.shape[2], x.shape[3]


def missing_to_multiple(size: int, divisor: int) -> int:
    """Compute what ``size`` lacks to a multiple of ``divisor``.

    In graphs for images of any size, how this is written matters. PyTorch
    merges floor divisions that follow each other, so that sizes of later
    stages stay simple; with other formulas, compiling takes several times as
    long. But where only plain ops serve, negative numbers must not be divided:
    ONNX rounds them to zero.
    """
    if needs_plain_ops():
        return (size + divisor - 1) // divisor * divisor - size
    return -(-size // divisor) * divisor - size


@check_arguments
def pad_to_multiple(x: FeatureMap, divisor: Size) -> Tensor:
    """Zero-pad a feature map ``(N, C, h, w)`` below and on the right until ``divisor`` divides its sides."""
    rows, columns = (missing_to_multiple(size, divisor) for size in x.shape[2:])
    return F.pad(x, (0, columns, 0, rows)) if is_padding(rows, columns) else x


@check_arguments
def to_channels_last(x: FeatureMap) -> Tensor:
    """Copy a feature map ``(N, C, h, w)`` to ``channels_last``, in which maps become tokens without a copy.

    Not where only plain ops serve: in an exported program, to choose the format
    of a convolution of a map in ``channels_last``, PyTorch asks whether the map
    is only one token high or wide, and takes the answer for a rule.
    """
    return x.contiguous(memory_format=torch.contiguous_format if needs_plain_ops() else torch.channels_last)


@check_arguments
def to_tokens(x: FeatureMap) -> Tensor:
    """View a feature map ``(N, C, h, w)`` as tokens ``(N, h * w, C)``; no copy in ``channels_last``."""
    return x.flatten(2).mT


@check_arguments
def to_map(x: Tokens, hw_shape: tuple[Size, Size]) -> Tensor:
    """View tokens ``(N, h * w, C)`` as a feature map ``(N, C, h, w)`` in ``channels_last``."""
    if is_compiled() and torch.is_grad_enabled():
        return torch.ops.vil_mm.to_map(x, *hw_shape)
    featmap = x.mT.unflatten(2, hw_shape)
    return featmap.contiguous() if needs_plain_ops() else featmap  # see to_channels_last


def _copy_to_map(x: Tensor, h: int, w: int) -> Tensor:
    return x.mT.unflatten(2, (h, w)).clone(memory_format=torch.channels_last)


def _fake_map(x: Tensor, h: int, w: int) -> Tensor:
    return x.new_empty(x.shape[0], h, w, x.shape[2]).permute(0, 3, 1, 2)


# Inductor fails to save a view of a map for the backward pass if it has to compare its strides to order them: which of
# 32 * w and 32 is larger, it cannot tell. The output of an op is no view.
register_op('vil_mm::to_map', _copy_to_map, _fake_map)
torch.library.register_autograd('vil_mm::to_map', lambda ctx, grad: (to_tokens(grad), None, None))
