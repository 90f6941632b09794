"""Sizes and formats of feature maps."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...arguments import Size, check_arguments
from ...ops.graphs import is_padding, needs_plain_ops
from ...ops.maps import FeatureMap


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
