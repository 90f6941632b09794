"""The published recipes of a family, in ``recipes.yml`` beside its configs, compared with the configs."""

import inspect
from collections.abc import Callable, Iterator
from fnmatch import filter as matching
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from mmengine.config import Config
from mmengine.registry import MODELS

from vil_mm.registry import nested_dicts


class Line(NamedTuple):
    """One setting of a recipe, in words."""

    recipe: str
    setting: str
    published: str
    ours: str
    why: str


def find(cfg: Any, path: str) -> Any:
    """Follow the keys and indices of a dotted path; None where one is missing."""
    for key in path.split('.'):
        if isinstance(cfg, (list, tuple)):
            cfg = cfg[int(key)] if int(key) < len(cfg) else None
        else:
            cfg = cfg.get(key) if cfg else None
    return cfg


def find_type(part: str, type_: str, key: str) -> Callable[[Config], Any]:
    """Make a function that finds a setting of the dict with that type, anywhere in a part of a config."""

    def look(cfg: Config) -> Any:
        return next((s.get(key) for s in nested_dicts(find(cfg, part)) if s.get('type') == type_), None)

    return look


def epsilon(cfg: Config) -> float:
    """Find the epsilon of the backbone's norms, in the config or in the code."""
    backbone = cfg.model.backbone
    default = inspect.signature(MODELS.get(backbone.type)).parameters['norm_cfg'].default
    return backbone.get('norm_cfg', default)['eps']


#: The settings that recipes may name: where a config has them.
SETTINGS: dict[str, str | Callable[[Config], Any]] = {
    'optimizer': 'optim_wrapper.optimizer.type',
    'learning rate': 'optim_wrapper.optimizer.lr',
    'weight decay': 'optim_wrapper.optimizer.weight_decay',
    'gradient clipping': 'optim_wrapper.clip_grad.max_norm',
    'precision': lambda cfg: 'mixed' if 'Amp' in (find(cfg, 'optim_wrapper.type') or '') else 'float32',
    'accumulated batches': lambda cfg: find(cfg, 'optim_wrapper.accumulative_counts') or 1,
    'batch': 'auto_scale_lr.base_batch_size',
    'images per GPU': 'train_dataloader.batch_size',
    'epochs': 'train_cfg.max_epochs',
    'iterations': 'train_cfg.max_iters',
    'schedule': 'param_scheduler.1.type',
    'steps': 'param_scheduler.1.milestones',
    'last learning rate': 'param_scheduler.1.eta_min',
    'warm-up': 'param_scheduler.0.end',
    'warm-up factor': 'param_scheduler.0.start_factor',
    'evaluation interval': lambda cfg: find(cfg, 'val_dataloader') and find(cfg, 'train_cfg.val_interval'),
    'checkpoint interval': 'default_hooks.checkpoint.interval',
    'drop path': 'model.backbone.drop_path_rate',
    'dropout': lambda cfg: find(cfg, 'model.backbone.drop_rate') or 0,
    'epsilon of norms': epsilon,
    'windows': lambda cfg: [settings['window_size'] for settings in cfg.model.backbone.attn_cfg[:2]],
    'window': lambda cfg: find(cfg, 'model.backbone.window_size') or find(cfg, 'model.backbone.attn_cfg.window_size'),
    'neighbors in training': 'model.backbone.attn_cfg.neighbors',
    'share with the random shift': find_type('custom_hooks', 'vil_mm.RandomShiftSwitchHook', 'switch_ratio'),
    'decay of averaged weights': lambda cfg: round(1 - find_type('custom_hooks', 'EMAHook', 'momentum')(cfg), 10),
    'Mixup': find_type('model', 'Mixup', 'alpha'),
    'CutMix': find_type('model', 'CutMix', 'alpha'),
    'label smoothing': 'model.head.loss.label_smooth_val',
    'RandAugment': find_type('train_dataloader', 'RandAugment', 'magnitude_level'),
    'random erasing': find_type('train_dataloader', 'RandomErasing', 'erase_prob'),
    'sampler': 'train_dataloader.sampler.type',
    'pixels': find_type('train_dataloader', 'RandomResizedCrop', 'scale'),
    'crop': find_type('train_dataloader', 'RandomCrop', 'crop_size'),
    'test images resized to': lambda cfg: cfg.test_dataloader.dataset.pipeline[1].scale,
}


def say(value: Any) -> str:
    """Write a value for a table."""
    if isinstance(value, (list, tuple)):
        return ', '.join(map(say, value))
    return {None: 'none'}.get(value) or (f'{value:g}' if isinstance(value, float) else str(value))


def plain(value: Any) -> Any:
    """Make values comparable: lists for tuples."""
    return list(value) if isinstance(value, (list, tuple)) else value


def compare(folder: Path) -> Iterator[Line]:
    """Compare every setting of every recipe with the configs that follow it.

    Args:
        folder (Path): The configs of a family, with ``recipes.yml``.

    Yields:
        Line: One setting.

    Raises:
        ValueError: If no config is of the name; if configs of a recipe differ;
            if a setting is not as published and does not say why, or says why
            although it is.
    """
    paths = {path.stem: path for path in folder.rglob('*.py')}
    for recipe in yaml.safe_load((folder / 'recipes.yml').read_text()):
        names = [name for pattern in recipe['configs'] for name in matching(paths, pattern) or [pattern]]
        missing = [name for name in names if name not in paths]
        if missing:
            raise ValueError(f'{folder}/recipes.yml names configs that are not there: {missing}')
        configs = {name: Config.fromfile(paths[name]) for name in names}
        for setting, stated in recipe['settings'].items():
            stated = stated if isinstance(stated, dict) else dict(published=stated)
            target = SETTINGS[setting]
            found = {name: plain(target(c) if callable(target) else find(c, target)) for name, c in configs.items()}
            where = f'{folder}/recipes.yml, {recipe["recipe"]!r}, {setting!r}'
            ours, *others = found.values()
            if any(other != ours for other in others):
                raise ValueError(f'{where}: the configs differ: {found}')
            if (ours != stated['published']) != ('why' in stated):
                kind = 'is as published, but says why it is not' if 'why' in stated else 'is not as published; say why'
                raise ValueError(f'{where}: {ours!r} {kind}: {stated["published"]!r}')
            yield Line(recipe['recipe'], setting, say(stated['published']), say(ours), stated.get('why', ''))
