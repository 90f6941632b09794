"""Checking that a checkpoint is of a model, before the model is tested or used."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import wraps
from typing import cast

import mmengine.runner.checkpoint
import mmengine.runner.runner
from mmengine.model import BaseTTAModel, is_model_wrapper
from torch import Tensor, nn

from ..models.base import BaseBackbone
from ..models.layers import CheckpointError, abbreviate, compare
from ..registry import MODELS
from .checkpoint import register_loader, state_dict_of


def check_fit(model: nn.Module, checkpoint: Mapping, path: str, allow_partial: Sequence[str] = ()) -> None:
    """Check that a checkpoint holds all tensors of a model, of the right shapes and finite, and no others.

    Positions of another size, which are resampled, fit.

    Args:
        model (nn.Module): The model.
        checkpoint (Mapping): What
            :func:`~vil_mm.engine.checkpoint.read_checkpoint` returns.
        path (str): Its file, for messages.
        allow_partial (Sequence[str]): Names of tensors, or of modules of the
            model, that need not fit. Defaults to ().

    Raises:
        CheckpointError: If it does not fit. The message names the first
            tensors and, where this can be told, what would help.
        ValueError: If the model has nothing of a name in ``allow_partial``.
    """
    model = unwrap(model)
    state_dict = state_dict_of(checkpoint, path)
    names = dict(model.named_parameters())
    for part in allow_partial:
        if not any(is_within(name, part) for name in [*names, *state_dict]):
            raise ValueError(
                f'--allow-partial {part}: neither the model nor {path} has a tensor or module of this name'
            )
    comparison = compare(model, state_dict)
    problems = []
    for what, found in (
        ('lacks', comparison.missing),
        ('has other shapes or types for', [f'{name}, which {why}' for name, why in comparison.unfit.items()]),
        ('also holds', comparison.unexpected),
    ):
        found = [name for name in found if not any(is_within(name.split(',')[0], part) for part in allow_partial)]
        if found:
            problems.append(f'{what} {len(found)} tensors ({abbreviate(found)})')
    if problems and (allow_partial or not _migrates(model, state_dict)):
        raise CheckpointError(
            f'{path} does not fit the model: it {" and ".join(problems)}. {_advise(model, state_dict)}'
        )
    # other buffers, such as masks of attention, may be infinite
    loaded = [name for name in (*comparison.fitting, *comparison.resized) if name in names or '.running_' in name]
    check_finite({name: state_dict[name] for name in loaded}, path)


def check_finite(state_dict: Mapping[str, Tensor], path: str) -> None:
    """Check that all values of some tensors are finite.

    Args:
        state_dict (Mapping[str, Tensor]): The tensors by name.
        path (str): Their file, for messages.

    Raises:
        CheckpointError: If one is not.
    """
    for name, tensor in state_dict.items():
        finite = tensor.isfinite()
        if not finite.all():
            raise CheckpointError(
                f'{path} is of no use: {(~finite).sum()} of {tensor.numel()} values of {name} are not finite'
            )


def unwrap(model: nn.Module) -> nn.Module:
    """Find the model within those that distribute it or average its predictions."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = cast(nn.Module, model.module)
    return model


def has_own_backbone(model: nn.Module) -> bool:
    """Tell whether a model has a backbone of this package."""
    return any(isinstance(module, BaseBackbone) for module in model.modules())


def is_within(name: str, part: str) -> bool:
    """Tell whether a tensor's name is a given one, or within a module of that name."""
    return name == part or name.startswith(f'{part}.')


def _migrates(model: nn.Module, state_dict: dict[str, Tensor]) -> bool:
    """Tell whether a model without a backbone of ours renames or resizes by itself all that does not fit."""
    own = model.state_dict()
    same_kinds = all(
        own[name].is_floating_point() == t.is_floating_point() for name, t in state_dict.items() if name in own
    )
    if has_own_backbone(model) or not same_kinds:
        return False
    try:
        model.load_state_dict(state_dict, strict=True)
    except (RuntimeError, ValueError):
        return False
    return True


def _advise(model: nn.Module, state_dict: Mapping[str, Tensor]) -> str:
    """Say what would help to load tensors whose names are not those of a model."""
    for family in _families():
        if any(re.match(rf'(module\.)?(backbone\.)?{re.escape(family.published_entry)}', name) for name in state_dict):
            return f'If it is a published file, convert it first with {family.converter}'
    own = [name for name, _ in model.named_parameters()]
    if not any(name in state_dict for name in own):
        for name in state_dict:
            if prefix := next((name.removesuffix(one) for one in own if name.endswith(f'.{one}')), None):
                return f'Its names begin with {prefix!r}: save it without'
            if prefix := next((one.removesuffix(name) for one in own if one.endswith(f'.{name}')), None):
                return f'Its names lack {prefix!r}: is it a part of the model alone?'
    return 'Use the config that it was trained with; --allow-partial of tools/test.py names modules that need not fit'


def _families() -> Iterator[type[BaseBackbone]]:
    """List the families that have published files."""
    for family in MODELS.module_dict.values():
        if isinstance(family, type) and issubclass(family, BaseBackbone) and family.published_entry:
            yield family


def check_inference() -> None:
    """Let the inferencers and ``get_model``, ``init_detector`` and ``init_model`` check what they load into our models.

    They all load with a function of mmengine that only warns of what does not
    fit, as it should in a training. There is no place to register at, so it is
    replaced wherever it is not the runner's.
    """
    load = mmengine.runner.checkpoint._load_checkpoint_to_model
    if hasattr(load, '__wrapped__'):
        return

    @wraps(load)
    def check_and_load(model: nn.Module, checkpoint: dict, *args, **kwargs) -> dict:
        # weights that init_cfg names are loaded while mmengine records how parameters are initialized
        initializes = hasattr(model, '_params_init_info')
        if has_own_backbone(model) and not initializes:
            check_fit(model, checkpoint, getattr(checkpoint, 'path', 'the checkpoint'))
        return load(model, checkpoint, *args, **kwargs)

    for module in list(sys.modules.values()):
        if module is not mmengine.runner.runner and getattr(module, '__dict__', {}).get(load.__name__) is load:
            setattr(module, load.__name__, check_and_load)
    register_loader()
