"""Feature maps: padding them, and turning them into tokens and back."""

import torch.nn.functional as F
from torch import Tensor


def grid_of(x: Tensor) -> tuple[int, int]:
    """Height and width of a feature map ``(N, C, h, w)``."""
    return x.shape[2], x.shape[3]


def pad_to_multiple(x: Tensor, divisor: int) -> Tensor:
    """Zero-pad a feature map ``(N, C, h, w)`` below and on the right until ``divisor`` divides its sides."""
    rows, columns = (-size % divisor for size in x.shape[2:])
    return F.pad(x, (0, columns, 0, rows)) if rows or columns else x


def to_tokens(x: Tensor) -> Tensor:
    """View a feature map ``(N, C, h, w)`` as tokens ``(N, h * w, C)``; no copy in ``channels_last``."""
    return x.flatten(2).mT


def to_map(x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """View tokens ``(N, h * w, C)`` as a feature map ``(N, C, h, w)`` in ``channels_last``."""
    return x.mT.unflatten(2, hw_shape)
