"""The precision in which heads decode boxes."""

import torch
from torch import Tensor


def at_least_float32(tensors: list[Tensor]) -> list[Tensor]:
    """Bring what has a lower precision than float32 up to it."""
    return [tensor.to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in tensors]
