"""What the modules share in loading checkpoints of another size."""

import logging

from mmengine.logging import print_log
from torch import Tensor, nn


def skip_other_shapes(module: nn.Module, state_dict: dict[str, Tensor], prefix: str) -> None:
    """Leave out a checkpoint's tensors that do not fit and cannot be resampled, with a warning that names them.

    They keep what they were initialized with, and count as missing.

    Args:
        module (nn.Module): The module; its own parameters and buffers are
            looked at, not those of its children.
        state_dict (dict[str, Tensor]): The checkpoint; changed in place.
        prefix (str): What precedes the module's names in it.
    """
    own = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
    for name, tensor in own.items():
        loaded = state_dict.get(prefix + name)
        if loaded is not None and loaded.shape != tensor.shape:
            del state_dict[prefix + name]
            print_log(
                f'{prefix}{name}: skipped, its shape is {tuple(loaded.shape)} in the checkpoint and '
                f'{tuple(tensor.shape)} here; it keeps its initial values',
                logger='current',
                level=logging.WARNING,
            )
