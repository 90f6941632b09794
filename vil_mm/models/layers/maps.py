"""Feature maps: padding them, and their way to tokens."""

import torch.nn.functional as F
from torch import Tensor


def pad_to_multiple(x: Tensor, divisor: int) -> Tensor:
    """Zero-pad a feature map ``(N, C, h, w)`` below and on the right, so that ``divisor`` divides its sides."""
    rows, columns = (-size % divisor for size in x.shape[2:])
    return F.pad(x, (0, columns, 0, rows)) if rows or columns else x


def to_tokens(x: Tensor) -> Tensor:
    """A feature map ``(N, C, h, w)`` as tokens ``(N, h * w, C)``, a view where channels come last in memory."""
    return x.flatten(2).mT
