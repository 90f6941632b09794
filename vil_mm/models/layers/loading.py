"""Loading of checkpoints whose tensors have other shapes."""

import logging
from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...arguments import check_arguments
from ...registry import InitCfg


class ResizableModule(BaseModule):
    """A module that loads checkpoints in which its own tensors have other shapes.

    Tensors that do not fit are skipped with a warning, see
    :func:`skip_other_shapes`. A subclass may resample them in
    ``_load_from_state_dict`` before it calls its base.

    Args:
        init_cfg (dict | Sequence[dict], optional): As in mmengine. Defaults to
            None.
    """

    @check_arguments
    def __init__(self, init_cfg: InitCfg | Sequence[InitCfg] | None = None) -> None:
        super().__init__(init_cfg)
        self.register_load_state_dict_pre_hook(skip_other_shapes)


@check_arguments
def skip_other_shapes(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *args) -> None:
    """Remove the tensors that do not fit a module from a checkpoint, with a warning that names them.

    The module's tensors keep their initial values and count as missing. A hook
    for ``register_load_state_dict_pre_hook``.

    Args:
        module (nn.Module): The module. Only its own parameters and buffers are
            compared, not those of its children.
        state_dict (dict[str, Tensor]): The checkpoint; changed in place.
        prefix (str): What precedes the module's names in the checkpoint.
        *args: What else PyTorch gives a hook; unused.
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
