"""Files of weights that parts of a model start from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import WEIGHT_INITIALIZERS

from ...models.layers import CheckpointError
from ...registry import find_class
from ..checkpoint import read_checkpoint, state_dict_of


def check_prefixes(cfg: Config) -> None:
    """Check that files hold names with the ``prefix`` of the ``init_cfg`` that reads them, if they are here.

    Args:
        cfg (Config): The config.

    Raises:
        CheckpointError: If one does not. The message names the key and the file.
    """
    pretrained = find_class('Pretrained', WEIGHT_INITIALIZERS, 'mmengine')
    for where, one in _initializers(cfg.get('model'), 'model'):
        prefix, path = one.get('prefix'), one.get('checkpoint')
        if not prefix or find_class(one.get('type'), WEIGHT_INITIALIZERS, cfg.get('default_scope')) is not pretrained:
            continue
        if not isinstance(path, str) or not Path(path).is_file():
            continue
        state = state_dict_of(read_checkpoint(path), path)
        begins = prefix if prefix.endswith('.') else f'{prefix}.'
        if not any(str(name).startswith(begins) for name in state):
            known = sorted({str(name).split('.')[0] for name in state})
            raise CheckpointError(
                f'{where}.prefix={prefix!r}: no name in {path} begins with it; they begin with {", ".join(known[:5])}'
            )


def _initializers(node: Any, where: str) -> Iterator[tuple[str, dict]]:
    """List all ``init_cfg`` within a part of a config, with their keys."""
    if isinstance(node, dict) and isinstance(node.get('init_cfg'), dict):
        yield f'{where}.init_cfg', node['init_cfg']
    if isinstance(node, (dict, list, tuple)):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _initializers(inner, f'{where}.{key}')
