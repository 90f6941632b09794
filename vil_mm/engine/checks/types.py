"""The types that a config names, looked up before anything is built from them."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from mmcv.transforms import wrappers
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModule
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    FUNCTIONS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODEL_WRAPPERS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    RUNNERS,
    STRATEGIES,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    WEIGHT_INITIALIZERS,
    Registry,
)

from ...registry import advise, find_class

#: Parts that every run builds, those of a training, and those of a test.
COMMON = {
    'model': MODELS,
    'data_preprocessor': MODELS,
    'model_wrapper_cfg': MODEL_WRAPPERS,
    'strategy': STRATEGIES,
    'default_hooks': HOOKS,
    'custom_hooks': HOOKS,
    'visualizer': VISUALIZERS,
    'log_processor': LOG_PROCESSORS,
}
TRAINING = {
    'optim_wrapper': OPTIM_WRAPPERS,
    'param_scheduler': PARAM_SCHEDULERS,
    'train_cfg': LOOPS,
    'val_cfg': LOOPS,
    'train_dataloader': None,
    'val_dataloader': None,
    'val_evaluator': METRICS,
}
TESTING = {'test_cfg': LOOPS, 'test_dataloader': None, 'test_evaluator': METRICS}
#: Parts for which mmengine, or the model, takes a type of its own.
WITH_DEFAULT = ('data_preprocessor', 'log_processor', 'model_wrapper_cfg', 'optim_wrapper', 'visualizer')
#: Parts of a data loader, and of an optimizer's wrapper.
INNER: dict[str, Registry] = {
    'dataset': DATASETS,
    'sampler': DATA_SAMPLERS,
    'batch_sampler': DATA_SAMPLERS,
    'collate_fn': FUNCTIONS,
    'worker_init_fn': FUNCTIONS,
}
#: How mmengine words that it does not find a name.
NOT_FOUND = re.compile(r"'?([\w./]+) is not in the \w+::([\w ]+) registry")


def check_types(cfg: Config, training: bool) -> None:
    """Look up the types of what a run builds itself: data, transforms, metrics, hooks, optimizer, schedule, loops.

    Those within the model are left to its classes, which may give a ``type``
    another meaning; if one is not found there, :func:`explain` says where it
    stands.

    Args:
        cfg (Config): The config.
        training (bool): Whether the run is a training, or else a test.

    Raises:
        ValueError: If a type is missing or is not registered. The message names
            its key and the nearest registered name.
    """
    scope = cfg.get('default_scope')
    _look_up('runner_type', cfg.get('runner_type', 'Runner'), RUNNERS, None)
    for name, registry in (COMMON | (TRAINING if training else TESTING)).items():
        if isinstance(cfg.get(name), str):
            raise ValueError(f'{name}={cfg[name]!r} must be a dict, or a list of dicts, not a word')
        for where, part in _leaves(cfg.get(name), name):
            if name.endswith('_dataloader'):
                _check_inner(where, part, scope)
            elif name.endswith('_evaluator'):
                _check_evaluator(where, part, scope)
            else:
                _check_type(where, part, registry, scope)
    wrapper = cfg.get('optim_wrapper') or {}
    if training and 'optimizer' in wrapper:
        for where, part in _leaves(wrapper['optimizer'], 'optim_wrapper.optimizer'):
            _check_type(where, part, OPTIMIZERS, scope)
    if training and 'constructor' in wrapper:
        _look_up('optim_wrapper.constructor', wrapper['constructor'], OPTIM_WRAPPER_CONSTRUCTORS, scope)
    for where, part in _leaves((cfg.get('visualizer') or {}).get('vis_backends'), 'visualizer.vis_backends'):
        _check_type(where, part, VISBACKENDS, scope)
    _check_initializers('model', cfg.get('model'), scope)


def explain(error: KeyError, cfg: Config) -> str | None:
    """Say where in a config the type stands that a registry did not find while the run was built.

    Args:
        error (KeyError): The registry's error.
        cfg (Config): The config.

    Returns:
        str | None: The message, or None if the error is of another kind.
    """
    found = NOT_FOUND.search(str(error))
    places = [key for key in _places(cfg.to_dict(), found[1])] if found else []
    if not places:
        return None
    registry = next((one for one in (MODELS, HOOKS, VISUALIZERS) if found[2].endswith(one.name)), None)
    advice = f': {advise(found[1], registry, cfg.get("default_scope"))}' if registry else ''
    return f'{", ".join(places)}={found[1]!r} is not registered as {_article(found[2])}{advice}'


def _places(node: Any, kind: str, where: str = '') -> Iterator[str]:
    for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
        if key == 'type' and inner == kind:
            yield f'{where}type'
        elif isinstance(inner, (dict, list, tuple)):
            yield from _places(inner, kind, f'{where}{key}.')


def _leaves(node: Any, where: str) -> Iterator[tuple[str, Any]]:
    """List the dicts that are to be built within a list, or a dict by name."""
    if isinstance(node, (list, tuple)) or where == 'default_hooks':
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node or ()):
            yield from _leaves(inner, f'{where}.{key}')
    elif where == 'param_scheduler' and isinstance(node, dict) and 'type' not in node:  # one for each optimizer
        for key, inner in node.items():
            yield from _leaves(inner, f'{where}.{key}')
    elif isinstance(node, dict) and node:
        yield where, node


def _check_type(where: str, part: dict, registry: Registry, scope: str | None) -> Any:
    """Look up the type of a part, and return its class."""
    kind = part.get('type')
    if kind is None:
        if where in WITH_DEFAULT or registry is LOOPS:
            return None
        raise ValueError(f'{where} has no type: {where}.type must name {_article(registry.name)}')
    return _look_up(f'{where}.type', kind, registry, part.get('_scope_', scope))


def _look_up(key: str, kind: Any, registry: Registry, scope: str | None) -> Any:
    # the libraries have no registries of their own of these sorts
    scope = 'mmengine' if registry in (FUNCTIONS, RUNNERS, STRATEGIES) else scope
    found = find_class(kind, registry, scope)
    if not callable(found):
        raise ValueError(
            f'{key}={kind!r} is not registered as {_article(registry.name)}: {advise(str(kind), registry, scope)}'
        )
    return found


def _article(name: str) -> str:
    return f'a{"n" * (name[0] in "aeiou")} {name.replace("_", " ")}'


def _check_evaluator(where: str, part: dict, scope: str | None) -> None:
    """Check an evaluator of its own class with its metrics, or a metric."""
    if 'metrics' not in part:
        _check_type(where, part, METRICS, scope)
        return
    if 'type' in part:
        _check_type(where, part, EVALUATOR, scope)
    for inner, metric in _leaves(part['metrics'], f'{where}.metrics'):
        _check_type(inner, metric, METRICS, scope)


def _check_inner(where: str, part: dict, scope: str | None) -> None:
    """Check a data loader, with its datasets and their transforms."""
    for name, registry in INNER.items():
        for inner, one in _leaves(part.get(name), f'{where}.{name}'):
            if name == 'dataset':
                _check_dataset(inner, one, scope)
            else:
                _check_type(inner, one, registry, scope)


def _check_dataset(where: str, dataset: dict, scope: str | None) -> None:
    kind, scope = _check_type(where, dataset, DATASETS, scope), dataset.get('_scope_', scope)
    for name in ('dataset', 'datasets'):
        for inner, one in _leaves(dataset.get(name), f'{where}.{name}'):
            if 'type' in one:
                _check_dataset(inner, one, scope)
    # a dataset of another class may read its pipeline in its own way
    if inspect.isclass(kind) and issubclass(kind, BaseDataset):
        _check_transforms(f'{where}.pipeline', dataset.get('pipeline'), scope)


def _check_transforms(where: str, transforms: Any, scope: str | None) -> None:
    for inner, one in _leaves(transforms, where):
        kind = _check_type(inner, one, TRANSFORMS, scope)
        if getattr(kind, '__module__', None) == wrappers.__name__:
            _check_transforms(f'{inner}.transforms', one.get('transforms'), scope)


def _check_initializers(where: str, node: Any, scope: str | None) -> None:
    """Check each ``init_cfg`` of a module of mmengine, which would look at it only after the data are loaded."""
    if isinstance(node, dict):
        scope = node.get('_scope_', scope)
        if 'type' in node and node.get('init_cfg') is not None:
            kind = find_class(node['type'], MODELS, scope)
            if inspect.isclass(kind) and issubclass(kind, BaseModule):
                _check_initializer(f'{where}.init_cfg', node['init_cfg'], scope)
        node = {key: inner for key, inner in node.items() if key != 'init_cfg'}
    if isinstance(node, (dict, list, tuple)):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            _check_initializers(f'{where}.{key}', inner, scope)


def _check_initializer(where: str, init_cfg: Any, scope: str | None) -> None:
    for one in init_cfg if isinstance(init_cfg, (list, tuple)) else [init_cfg]:
        if not isinstance(one, dict):
            raise ValueError(
                f"{where}={init_cfg!r} must be a dict, such as dict(type='Pretrained', checkpoint=...), or None"
            )
        if 'type' not in one:
            advice = f'set {where}.type=Pretrained too' if 'checkpoint' in one else f'{where}.type must name one'
            raise ValueError(f'{where} has no type: {advice}')
        _look_up(f'{where}.type', one['type'], WEIGHT_INITIALIZERS, scope)
