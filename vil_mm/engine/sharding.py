"""Training with parameters, gradients and optimizer sharded over the processes."""

import os
from typing import Any

from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import is_distributed, is_main_process
from mmengine.utils import apply_to
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, set_model_state_dict
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from ..models.base import BaseBlock
from ..registry import STRATEGIES


@STRATEGIES.register_module()
class FullyShardStrategy(FSDPStrategy):
    """Shard a model by PyTorch's ``fully_shard``: the blocks of our backbones one by one, and the rest as one part.

    Checkpoints are gathered and are the same single files as those of other
    runs, so that they can be resumed and tested by any number of processes,
    sharded or not.

    Args:
        **kwargs: As of mmengine's ``DDPStrategy``, but without
            ``model_wrapper``.

    Raises:
        ValueError: If there is a setting of mmengine's strategy for FSDP.
    """

    def __init__(self, **kwargs: Any) -> None:
        for name in ('activation_checkpointing', 'model_wrapper', 'skip_init_weights', 'state_dict_cfg'):
            if name in kwargs:
                raise ValueError(f'strategy.{name}={kwargs[name]!r} has no effect with FullyShardStrategy: remove it')
        super().__init__(state_dict_cfg='full', **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        model = self.convert_model(model).to(get_device())
        if is_distributed():
            for module in [module for module in model.modules() if isinstance(module, BaseBlock)]:
                fully_shard(module)
            fully_shard(model)
        return model

    def save_checkpoint(self, filename: str, **kwargs: Any) -> None:
        """Gather a checkpoint in all processes, and write it in the first, whole or not at all.

        Args:
            filename (str): The file.
            **kwargs: As in mmengine.
        """
        super().save_checkpoint(f'{filename}.part', **kwargs)
        if is_main_process():
            os.replace(f'{filename}.part', filename)

    def model_state_dict(self) -> dict:
        """Gather the parameters and buffers."""
        return get_model_state_dict(self.model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))

    def optim_state_dict(self) -> dict:
        """Gather the optimizer's state."""
        return apply_to(self.optim_wrapper.state_dict(), is_sharded, lambda value: value.full_tensor().cpu())

    def load_model_state_dict(self, state_dict: dict, *, strict: bool = False, **kwargs: Any) -> None:
        """Load whole parameters and buffers, and shard them.

        Args:
            state_dict (dict): The parameters and buffers.
            strict (bool): Whether none may be missing or superfluous. Defaults
                to False.
            **kwargs: Not used.

        Raises:
            ValueError: If a tensor has another shape than that of the model.
        """
        for name, value in self.model.state_dict().items():
            if name in state_dict and state_dict[name].shape != value.shape:
                raise ValueError(
                    f'{name} has shape {tuple(state_dict[name].shape)} in the checkpoint, but {tuple(value.shape)} in '
                    'the model. A sharded run resizes only what it loads by init_cfg: name the file there'
                )
        set_model_state_dict(self.model, state_dict, options=StateDictOptions(full_state_dict=True, strict=strict))

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the state of a whole optimizer, and shard it.

        Args:
            state_dict (dict): The state, as of a run that is not sharded.
        """
        parameters = [parameter for group in self.optim_wrapper.param_groups for parameter in group['params']]
        for number, state in state_dict['state'].items():
            parameter = parameters[number]
            for name, value in state.items():
                if is_sharded(parameter) and value.shape == parameter.shape:
                    value = value.to(parameter.device)
                    state[name] = distribute_tensor(value, parameter.device_mesh, parameter.placements)
        self.optim_wrapper.load_state_dict(state_dict)


def is_sharded(value: Any) -> bool:
    """Tell whether something is a tensor whose parts are in several processes."""
    return isinstance(value, DTensor)
