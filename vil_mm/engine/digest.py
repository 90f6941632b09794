"""A digest of tensors."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

#: The entry of a checkpoint's ``meta`` that holds the digest of its tensors.
DIGEST = 'sha256'


def digest(state_dict: Mapping[str, Tensor]) -> str:
    """Compute the SHA-256 of names, types, shapes and values.

    It depends neither on the order of the tensors nor on the kind of file.

    Args:
        state_dict (Mapping[str, Tensor]): The tensors by name.

    Returns:
        str: 64 hexadecimal digits.
    """
    total = hashlib.sha256()
    for name, tensor in sorted(state_dict.items()):
        total.update(f'{name} {tensor.dtype} {tuple(tensor.shape)} '.encode())
        values = tensor.detach().cpu().contiguous()
        # an axis of length 1 may have any stride, which would get in the way of another element size
        flat = values.as_strided((values.numel(),), (1,))
        total.update(flat.view(torch.uint8).numpy().data)
    return total.hexdigest()
