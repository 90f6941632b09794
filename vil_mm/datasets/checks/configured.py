"""The datasets and metrics that a config names, with their classes.

A type may be a name, with or without its scope, or a class, as in pure-Python
configs.
"""

import inspect
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, Registry

from ...registry import advise, as_list, find_class, innermost, nested_dicts


class Configured(NamedTuple):
    """A dataset or a metric.

    Args:
        where (str): Name of its data loader or evaluator, for messages.
        config (dict): Its config.
        kind (Callable): Its class, or a function that makes one.
    """

    where: str
    config: dict
    kind: Any

    def derives_from(self, name: str) -> bool:
        """Tell whether the class is, or derives from, one of a library, which need not be installed.

        Args:
            name (str): The library and the name of the class, such as
                ``'mmdet.CocoDataset'``.
        """
        bases = inspect.getmro(self.kind) if inspect.isclass(self.kind) else ()
        return name in [f'{base.__module__.split(".")[0]}.{base.__name__}' for base in bases]


def find_datasets(cfg: Config, loaders: Sequence[str]) -> list[Configured]:
    """List the datasets of data loaders, within those that concatenate, repeat or mix others.

    Args:
        cfg (Config): The config.
        loaders (Sequence[str]): Names of the data loaders.

    Raises:
        ValueError: If a type is not registered.
    """
    return [
        Configured(loader, dataset, class_of(dataset, DATASETS, cfg, loader))
        for loader in loaders
        for one in as_list(cfg.get(loader))
        for dataset in innermost(one.get('dataset') or {})
    ]


def find_metrics(cfg: Config, evaluators: Sequence[str]) -> list[Configured]:
    """List the metrics of evaluators.

    Args:
        cfg (Config): The config.
        evaluators (Sequence[str]): Names of the evaluators, such as
            ``'val_evaluator'``.

    Raises:
        ValueError: If a type is not registered.
    """
    return [
        Configured(evaluator, metric, class_of(metric, METRICS, cfg, evaluator))
        for evaluator in evaluators
        for one in as_list(cfg.get(evaluator))
        for metric in as_list(one.get('metrics') or one)  # an evaluator of another class lists its metrics
    ]


def class_of(config: dict, registry: Registry, cfg: Config, where: str) -> Any:
    """Find the class of a part of a config, or the function that makes it.

    Args:
        config (dict): Config of the part.
        registry (Registry): Root of the registries of its sort.
        cfg (Config): The whole config, whose scope is the default.
        where (str): Name of the data loader or evaluator, for messages.

    Raises:
        ValueError: If the type is missing or is not registered.
    """
    kind, scope = config.get('type'), config.get('_scope_') or cfg.get('default_scope')
    found = find_class(kind, registry, scope)
    if found is None and isinstance(kind, str):
        raise ValueError(f'{where}: no {registry.name} has type={kind!r}: {advise(kind, registry, scope)}')
    if not callable(found):
        raise ValueError(f'{where}: type={kind!r} must be the name of a class, or a class')
    return found


def is_remote(dataset: dict) -> bool:
    """Tell whether the files are elsewhere than in this machine's folders."""
    prefix = dataset.get('data_prefix') or {}
    places = [dataset.get('data_root'), dataset.get('ann_file'), *(prefix.values() if isinstance(prefix, dict) else [])]
    backends = [(step.get('backend_args') or {}).get('backend', 'local') for step in nested_dicts(dataset)]
    return any(backend not in ('local', 'zip') for backend in backends) or any('://' in str(place) for place in places)


def repeats(values: Iterable) -> list:
    """List the values that come more than once."""
    values = list(values)
    if len(set(values)) == len(values):
        return []
    return [value for value, number in Counter(values).items() if number > 1]
