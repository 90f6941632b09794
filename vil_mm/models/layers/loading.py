"""How the tensors of a checkpoint fit those of a model, and loading of those that have other shapes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...arguments import check_arguments
from ...registry import InitCfg

#: Types of numbers by kind. Checkpoints may hold any type of the kind that the model's tensor has, but no others.
KINDS = {
    **dict.fromkeys((torch.float64, torch.float32, torch.float16, torch.bfloat16), 'floating-point numbers'),
    **dict.fromkeys((torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8), 'integers'),
}


class CheckpointError(ValueError):
    """A checkpoint that is damaged, or does not hold what it is opened for."""


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

    def can_resize(self, name: str, tensor: Tensor) -> bool:
        """Tell whether a tensor of a checkpoint can be resampled to the module's own.

        Args:
            name (str): The module's name for it.
            tensor (Tensor): The tensor, of another shape than the module's.
        """
        return False


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


@dataclass
class Comparison:
    """How the tensors of a checkpoint fit a model, by the model's names; see :func:`compare`.

    Attributes:
        fitting (list[str]): Those that are loaded as they are.
        resized (list[str]): Those that are resampled, such as positions, or
            adapted to images of other channels.
        unfit (dict[str, str]): What is wrong with each of the others that both
            have.
        missing (list[str]): Those that only the model has.
        unexpected (list[str]): Those that only the checkpoint has.
    """

    fitting: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)
    unfit: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f'{len(self.fitting)} tensors loaded']
        for names, what in (
            (self.resized, 'resized'),
            (list(self.unfit), 'skipped, because they do not fit'),
            (self.missing, 'not in the checkpoint'),
            (self.unexpected, 'of the checkpoint left over'),
        ):
            if names:
                parts.append(f'{len(names)} {what} ({abbreviate(names)})')
        return ', '.join(parts)


def abbreviate(names: list[str], length: int = 3) -> str:
    """List the first few of some names."""
    return ', '.join(names[:length]) + (', ...' if len(names) > length else '')


def adapt_channels(embed: nn.Module, state_dict: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Adapt the convolutions of images to another number of channels, as timm does.

    For images of one channel, the weights are summed over the channels. For
    others, the channels are repeated in order, and scaled so that the sum over
    all of them stays the same on images whose channels are equal.

    Args:
        embed (nn.Module): What embeds the images. All its convolutions that
            take as many channels as the first one, take the images.
        state_dict (Mapping[str, Tensor]): A checkpoint's tensors by name.
        prefix (str): What precedes the names of ``embed`` in the checkpoint.

    Returns:
        dict[str, Tensor]: The weights that fit but for the number of channels,
        adapted, by their names in the checkpoint.
    """
    convs = {f'{prefix}{name}.weight': m for name, m in embed.named_modules() if isinstance(m, nn.Conv2d)}
    first = state_dict.get(next(iter(convs), ''))
    adapted: dict[str, Tensor] = {}
    if first is None or first.ndim != 4:
        return adapted
    theirs, ours = first.shape[1], next(iter(convs.values())).weight.shape[1]
    for name, conv in convs.items():
        shape = (conv.out_channels, theirs, *conv.kernel_size)
        if theirs == ours or conv.weight.shape[1] != ours or name not in state_dict or state_dict[name].shape != shape:
            continue
        weight = state_dict[name].to(torch.promote_types(state_dict[name].dtype, torch.float32))
        if ours == 1:
            weight = weight.sum(1, keepdim=True)
        else:
            weight = weight.repeat(1, -(-ours // theirs), 1, 1)[:, :ours] * (theirs / ours)
        adapted[name] = weight.to(state_dict[name].dtype)
    return adapted


def compare(model: nn.Module, state_dict: Mapping[str, Tensor], prefix: str = '') -> Comparison:
    """Compare the tensors of a checkpoint with those of a model, without loading them.

    ``num_batches_tracked``, which early versions of PyTorch did not write, may
    be missing.

    Args:
        model (nn.Module): The model.
        state_dict (Mapping[str, Tensor]): The checkpoint's tensors by name.
        prefix (str): What precedes the model's names in the checkpoint; other
            names are not compared. Defaults to ''.

    Returns:
        Comparison: What fits and what does not.
    """
    comparison = Comparison()
    unexpected = dict.fromkeys(name for name in state_dict if name.startswith(prefix))
    adapted: set[str] = set()
    for path, module in model.named_modules(remove_duplicate=False):
        if hasattr(module, 'adapt_channels'):  # a backbone of this package
            adapted.update(module.adapt_channels(state_dict, f'{prefix}{path}.' if path else prefix))
        own = {**module._parameters, **module._buffers}
        for local, tensor in own.items():
            if tensor is None or local in module._non_persistent_buffers_set:
                continue
            name = f'{prefix}{path}.{local}' if path else prefix + local
            unexpected.pop(name, None)
            if name not in state_dict:
                if local != 'num_batches_tracked':
                    comparison.missing.append(name)
                continue
            loaded = state_dict[name]
            kind, wanted = (KINDS.get(one.dtype, str(one.dtype)) for one in (loaded, tensor))
            if kind != wanted:
                comparison.unfit[name] = f'holds {loaded.dtype}, must hold {wanted}'
            elif loaded.shape == tensor.shape:
                comparison.fitting.append(name)
            elif name in adapted or (isinstance(module, ResizableModule) and module.can_resize(local, loaded)):
                comparison.resized.append(name)
            else:
                comparison.unfit[name] = f'has shape {tuple(loaded.shape)}, must have {tuple(tensor.shape)}'
    comparison.unexpected.extend(unexpected)
    return comparison
