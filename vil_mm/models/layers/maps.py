"""Feature maps: padding them, and turning them into tokens and back."""

from typing import Annotated

import torch.nn.functional as F
from torch import Tensor

from ...arguments import Size, check_arguments, dims

FeatureMap = Annotated[Tensor, dims('N', 'C', 'h', 'w')]
Tokens = Annotated[Tensor, dims('N', 'L', 'C')]


@check_arguments
def grid_of(x: FeatureMap) -> tuple[int, int]:
    """Height and width of a feature map ``(N, C, h, w)``."""
    return x.shape[2], x.shape[3]


@check_arguments
def pad_to_multiple(x: FeatureMap, divisor: Size) -> Tensor:
    """Zero-pad a feature map ``(N, C, h, w)`` below and on the right until ``divisor`` divides its sides."""
    rows, columns = (-size % divisor for size in x.shape[2:])
    return F.pad(x, (0, columns, 0, rows)) if rows or columns else x


@check_arguments
def to_tokens(x: FeatureMap) -> Tensor:
    """View a feature map ``(N, C, h, w)`` as tokens ``(N, h * w, C)``; no copy in ``channels_last``."""
    return x.flatten(2).mT


@check_arguments
def to_map(x: Tokens, hw_shape: tuple[Size, Size]) -> Tensor:
    """View tokens ``(N, h * w, C)`` as a feature map ``(N, C, h, w)`` in ``channels_last``."""
    return x.mT.unflatten(2, hw_shape)
