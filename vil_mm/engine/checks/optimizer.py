"""The settings of the optimizer, tried on one parameter, and those of single parameters."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import OPTIMIZERS
from torch.nn import Parameter

from ...registry import find_class, nearest

#: Factors for single parameters that mmengine knows; it takes other names for settings of the optimizer.
FACTORS = ('lr_mult', 'decay_mult')
#: Parameters that our models have in some settings only. Recipes name them for all.
OPTIONAL = {'global_tokens', 'position_embed', 'relative_position_bias'}


def check_optimizer(cfg: Config) -> None:
    """Check the settings of the optimizer, if it is one of PyTorch's, and of ``custom_keys``.

    Args:
        cfg (Config): The config.

    Raises:
        ValueError: If one is unknown or has no valid value. The message names
            its key and its value.
    """
    wrapper = cfg.get('optim_wrapper') or {}
    if not isinstance(wrapper, dict):
        return
    optimizer = wrapper.get('optimizer')
    if isinstance(optimizer, str):
        raise ValueError(
            f'optim_wrapper.optimizer={optimizer!r} must be a dict: set optim_wrapper.optimizer.type={optimizer}'
        )
    if optimizer is None and 'optimizer' in wrapper and 'constructor' not in wrapper:
        raise ValueError("optim_wrapper.optimizer=None must be a dict, such as dict(type='AdamW', lr=0.001)")
    if isinstance(optimizer, dict):
        _try(find_class(optimizer.get('type'), OPTIMIZERS, cfg.get('default_scope')), optimizer)
    _check_custom_keys((wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {})


def _try(kind: Any, optimizer: dict) -> None:
    """Build an optimizer of PyTorch's for one parameter."""
    if not inspect.isclass(kind) or not kind.__module__.startswith('torch.optim.'):
        return
    settings = {name: value for name, value in optimizer.items() if name not in ('type', '_scope_')}
    known = list(inspect.signature(kind).parameters)[1:]
    for name in settings:
        if name not in known:
            near = nearest(name, known)
            advice = f'did you mean {near[0]!r}?' if near else f'it has {", ".join(known)}'
            raise ValueError(
                f'optim_wrapper.optimizer.{name} is no setting of {kind.__name__}: {advice} '
                '(optim_wrapper.optimizer._delete_=True drops the settings of another optimizer)'
            )
    error = _refusal(kind, settings)
    if error is None:
        return
    # the one that is refused also if it is the only one, or all
    for name, value in settings.items():
        if alone := _refusal(kind, {name: value}):
            default = inspect.signature(kind).parameters[name].default
            raise ValueError(
                f'optim_wrapper.optimizer.{name}={value!r} is refused by {kind.__name__}: {alone} (default {default!r})'
            ) from alone
    raise ValueError(f'optim_wrapper.optimizer={optimizer} is refused by {kind.__name__}: {error}') from error


def _refusal(kind: type, settings: dict) -> Exception | None:
    try:
        kind([Parameter(torch.zeros(1, 1))], **settings)
    except Exception as error:
        return error
    return None


def _check_custom_keys(custom_keys: dict) -> None:
    key = 'optim_wrapper.paramwise_cfg.custom_keys'
    for name, settings in custom_keys.items():
        if not isinstance(settings, dict):
            raise ValueError(f'{key}[{name!r}]={settings!r} must be a dict, such as dict(decay_mult=0.0)')
        for setting, value in settings.items():
            if isinstance(value, dict):
                raise ValueError(
                    f'{key}[{name!r}] has a dict as {setting!r}: a name with dots, such as {f"{name}.{setting}"!r}, '
                    'cannot be set on the command line; set it in a config file'
                )
            near = nearest(setting, FACTORS, 0.7)
            if near and near != [setting]:
                raise ValueError(f'{key}[{name!r}] has no {setting!r}: did you mean {near[0]!r}?')


def unmatched_keys(custom_keys: Iterable[str], names: Iterable[str]) -> dict[str, str | None]:
    """Find the ``custom_keys`` that are in no parameter's name.

    Args:
        custom_keys (Iterable[str]): The keys.
        names (Iterable[str]): The names of all parameters of the model.

    Returns:
        dict[str, str | None]: Each such key with the nearest name of a
        parameter or module, or None if no name is near. Those that our recipes
        name for all models are left out.
    """
    names = list(names)
    found: dict[str, str | None] = {}
    for key in custom_keys:
        if key in OPTIONAL or any(key in name for name in names):
            continue
        # names of as many parts as the key has
        count, parts = key.count('.') + 1, [name.split('.') for name in names]
        known = {'.'.join(part[i : i + count]) for part in parts for i in range(len(part) - count + 1)}
        near = nearest(key, known)
        found[key] = near[0] if near else None
    return found
