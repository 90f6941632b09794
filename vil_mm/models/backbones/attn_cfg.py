"""How the argument ``attn_cfg`` of the backbones changes the attentions of their architectures."""

import inspect
from collections.abc import Sequence

from ...registry import MODELS


def merge_attn_cfg(
    attn_cfgs: Sequence[dict], changes: dict | Sequence[dict | None] | None, own_type: str
) -> list[dict]:
    """Apply the argument ``attn_cfg`` of a backbone to the attentions of its architecture.

    Args:
        attn_cfgs (Sequence[dict]): Config of the attention of each stage.
        changes (dict | Sequence[dict | None], optional): A dict with ``type``
            replaces the attention of every stage; a dict without changes the
            settings of every attention of the family's own kind. A sequence has
            one entry per stage: a dict with ``type`` replaces that stage's
            attention, one without changes its settings.
        own_type (str): The family's own kind, as ``attn_cfgs`` name it.

    Returns:
        list[dict]: The changed configs.

    Raises:
        ValueError: If the changes are neither a dict nor one entry per stage,
            or a dict without ``type`` finds nothing to change.
    """
    own = [cfg['type'] == own_type for cfg in attn_cfgs]
    if isinstance(changes, dict):
        if 'type' not in changes and not any(own):
            raise ValueError(
                f'attn_cfg={changes} has no type, so it changes the attentions of type {own_type!r}, and arch has none'
            )
        changes = [changes if 'type' in changes or is_own else None for is_own in own]
    changes = changes or [None] * len(attn_cfgs)
    if isinstance(changes, str) or len(changes) != len(attn_cfgs):
        raise ValueError(f'attn_cfg={changes!r} must be a dict, or have one entry per stage, {len(attn_cfgs)}')
    return [
        dict(change) if change and 'type' in change else dict(cfg, **(change or {}))
        for cfg, change in zip(attn_cfgs, changes)
    ]


def complete_attn_cfg(attn_cfg: dict, decided: dict, defaults: dict, offered: dict) -> dict:
    """Complete the config of an attention.

    Args:
        attn_cfg (dict): What arch and user say.
        decided (dict): What the arch decides, and nobody else.
        defaults (dict): What holds where ``attn_cfg`` says nothing else.
        offered (dict): As ``defaults``, for attentions that name it among
            their arguments.

    Returns:
        dict: A config that ``MODELS.build`` takes.

    Raises:
        ValueError: If ``attn_cfg`` sets what the arch decides, has a type that
            is not registered, or lacks what the type needs.
    """
    given = decided.keys() & attn_cfg.keys()
    if given:
        raise ValueError(f'attn_cfg sets {sorted(given)}, which arch decides: {decided}')
    attn_class = attn_cfg['type']
    if isinstance(attn_class, str):
        attn_class = MODELS.get(attn_class)
    if attn_class is None:
        raise ValueError(f'attn_cfg has type={attn_cfg["type"]!r}, which is not registered')
    taken = {name: value for name, value in offered.items() if takes(attn_class, name)}
    completed = {**defaults, **taken, **attn_cfg, **decided}
    needed = inspect.signature(attn_class).parameters.values()
    missing = [p.name for p in needed if p.default is p.empty and p.kind is p.KEYWORD_ONLY and p.name not in completed]
    if missing:
        raise ValueError(
            f'attn_cfg has type={attn_cfg["type"]!r}, which needs {missing}. This backbone does not know them: set '
            'them, in a list with one entry per stage where they differ'
        )
    return completed


def takes(cls: type, name: str) -> bool:
    """Whether a class takes an argument, by itself or through the ``**kwargs`` that it hands to its base."""
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters
        if name in parameters:
            return True
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return False
