"""Checks of a config, before anything is built from it."""

import logging
from importlib.util import find_spec

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.registry import HOOKS, MODELS

from ..._extras import EXTRAS
from ...arguments import check_arguments
from ...registry import find_class, nearest
from .names import check_names
from .optimizer import check_optimizer
from .pixels import check_pixels
from .types import check_types
from .weights import check_prefixes


@check_arguments
def check_config(cfg: Config, training: bool) -> None:
    """Check the parts of a config that a run will use.

    Args:
        cfg (Config): The config.
        training (bool): Whether the run is a training, or else a test.

    Raises:
        ValueError: If a type is not registered or a setting has no valid value.
            The message names the key, its value and what is allowed.
    """
    scope, level = cfg.get('default_scope'), cfg.get('log_level', 'INFO')
    if isinstance(scope, str) and MODELS._search_child(scope) is None and find_spec(scope) is None:
        for near in nearest(scope, EXTRAS):
            raise ValueError(f'default_scope={scope!r} is not installed: did you mean {near!r}?')
    if isinstance(level, str) and not isinstance(logging.getLevelName(level), int):
        raise ValueError(f'log_level={level!r} must be DEBUG, INFO, WARNING, ERROR or CRITICAL')
    check_names(cfg)
    check_types(cfg, training)
    check_pixels(cfg, training)
    _check_numbers(cfg, training)
    _check_crops((cfg.get('model') or {}).get('test_cfg'))
    if not training:
        return
    check_optimizer(cfg)
    check_prefixes(cfg)
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if find_class(hook.get('type'), HOOKS, scope) is CheckpointHook:
        try:
            CheckpointHook(**{name: value for name, value in hook.items() if name != 'type'})
        except Exception as error:
            raise ValueError(f'default_hooks.checkpoint={dict(hook)}: {error}') from error


def _check_numbers(cfg: Config, training: bool) -> None:
    """Check numbers whose words mmengine or PyTorch would take without a look and fail over later."""
    places = {f'default_hooks.{name}': hook for name, hook in (cfg.get('default_hooks') or {}).items()}
    numbers = {f'{where}.interval': hook['interval'] for where, hook in places.items() if 'interval' in (hook or ())}
    numbers['randomness.seed'] = (cfg.get('randomness') or {}).get('seed')
    for loader in ('train_dataloader', 'val_dataloader') if training else ('test_dataloader',):
        for name in ('batch_size', 'num_workers'):
            numbers[f'{loader}.{name}'] = (cfg.get(loader) or {}).get(name)
    for key, value in numbers.items():
        if isinstance(value, str):
            raise ValueError(f'{key}={value!r} must be a number')


def _check_crops(test_cfg: object) -> None:
    """Check that a segmenter's sliding crops leave no gaps, which mmsegmentation asserts without a message."""
    if not isinstance(test_cfg, dict) or test_cfg.get('mode') != 'slide':
        return
    for stride, crop in zip(test_cfg.get('stride') or (), test_cfg.get('crop_size') or ()):
        if stride > crop:
            raise ValueError(
                f'model.test_cfg: stride={test_cfg["stride"]} must be at most crop_size={test_cfg["crop_size"]}: '
                'there would be gaps between the crops'
            )
