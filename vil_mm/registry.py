"""Registries with the scope ``vil_mm``, children of mmengine's.

Each imports its modules when a name of the scope is first looked up, so that
``type='vil_mm.ViL'`` works in any OpenMMLab project without ``custom_imports``.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Annotated

from ._extras import require
from .arguments import Allowed

require('mmengine')

from mmengine.registry import DATASETS as MMENGINE_DATASETS  # noqa: E402
from mmengine.registry import HOOKS as MMENGINE_HOOKS  # noqa: E402
from mmengine.registry import METRICS as MMENGINE_METRICS  # noqa: E402
from mmengine.registry import MODELS as MMENGINE_MODELS  # noqa: E402
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS  # noqa: E402
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS  # noqa: E402
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES  # noqa: E402
from mmengine.registry import WEIGHT_INITIALIZERS, Registry  # noqa: E402

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='vil_mm', locations=['vil_mm.models'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='vil_mm', locations=['vil_mm.datasets.zip_dataset'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='vil_mm', locations=['vil_mm.engine'])
STRATEGIES = Registry('strategy', parent=MMENGINE_STRATEGIES, scope='vil_mm', locations=['vil_mm.engine.sharding'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='vil_mm', locations=['vil_mm.evaluation'])
OPTIM_WRAPPERS = Registry('optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='vil_mm', locations=['vil_mm.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='vil_mm',
    locations=['vil_mm.engine'],
)


def find_class(kind: str | type | None, registry: Registry, scope: str | None = None) -> type | None:
    """Find what the ``type`` of a config names.

    Args:
        kind (str | type | None): A registered name, with or without its scope;
            a full name such as ``'torch.nn.SyncBatchNorm'``; or, as in
            pure-Python configs, the class itself.
        registry (Registry): Root of the registries of its sort.
        scope (str, optional): The default scope of the config.

    Returns:
        type | None: The class, or None if nothing has that name.
    """
    if not isinstance(kind, str):
        return kind
    with registry.switch_scope_and_registry(scope) as scoped:
        try:
            return scoped.get(kind)
        except RuntimeError:  # what mmengine raises for some names that it does not find
            return None


def registered_in(registry: Registry, example: str) -> Allowed:
    """Allow configs whose ``type`` is registered.

    Args:
        registry (Registry): Root of the registries of its sort.
        example (str): A config, for the message.
    """
    return Allowed(
        lambda cfg: find_class(cfg.get('type'), registry) is not None, f'{{}} with a registered type, such as {example}'
    )


NormCfg = Annotated[dict, registered_in(MMENGINE_MODELS, "dict(type='LN')")]
InitCfg = Annotated[dict, registered_in(WEIGHT_INITIALIZERS, "dict(type='Pretrained', checkpoint='FILE')")]


def advise(kind: str, registry: Registry, scope: str | None = None) -> str:
    """Say what to do about a name that :func:`find_class` does not find.

    Args:
        kind (str): The name.
        registry (Registry): Root of the registries of its sort.
        scope (str, optional): The default scope of the config.
    """
    name = kind.split('.')[-1]
    with registry.switch_scope_and_registry(scope) as scoped:
        known = {*scoped.module_dict, *scoped.root.module_dict}
    others = [f'{child.scope}.{name}' for child in registry.root.children.values() if name in child.module_dict]
    near = others[:1] or nearest(name, known)
    return f'did you mean {near[0]!r}?' if near else 'name its module in custom_imports'


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Find the known name that is nearest to one, whatever its case.

    Args:
        name (str): The name.
        known (Iterable[str]): The known names.
        cutoff (float): The least similarity, up to 1.

    Returns:
        list[str]: The name, or nothing if none is similar enough.
    """
    lower = {one.lower(): one for one in sorted(known, reverse=True)}
    return [lower[one] for one in difflib.get_close_matches(name.lower(), lower, 1, cutoff)]


def nested_dicts(config: object) -> Iterator[dict]:
    """List a config, if it is a dict, and all dicts within it."""
    if isinstance(config, dict):
        yield config
        config = list(config.values())
    if isinstance(config, (list, tuple)):
        for value in config:
            yield from nested_dicts(value)


def innermost(dataset: dict) -> list[dict]:
    """List the datasets that a dataset concatenates, repeats or mixes, or itself if it is a plain one."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    return [deepest for one in inner for deepest in innermost(one)] or [dataset] if dataset else []


def as_list(value: object) -> list:
    """Make a list of a list or tuple, of one value, or of none."""
    return list(value) if isinstance(value, (list, tuple)) else [value] if value else []
