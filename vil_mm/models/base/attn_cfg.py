"""How a backbone configures its attentions, and how the argument ``attn_cfg`` changes them."""

from collections.abc import Sequence

from torch import nn

from ...registry import MODELS


def merge_attn_cfg(
    attn_cfgs: Sequence[dict], changes: dict | Sequence[dict | None] | None, own_type: str
) -> list[dict]:
    """Apply the argument ``attn_cfg`` of a backbone to the attentions of its architecture.

    Args:
        attn_cfgs (Sequence[dict]): Config of the attention of each stage.
        changes (dict | Sequence[dict | None], optional): A dict with ``type``
            replaces the attention of every stage; a dict without ``type``
            changes the settings of every attention of the family's own kind. A
            sequence has one entry per stage: a dict with ``type`` replaces that
            stage's attention, one without changes its settings.
        own_type (str): The family's own kind, as ``attn_cfgs`` name it.

    Returns:
        list[dict]: The changed configs.

    Raises:
        ValueError: If ``changes`` is neither a dict nor has one entry per
            stage, or if it is a dict without ``type`` that finds nothing to
            change.
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


def build_attention(
    attn_cfg: dict,
    *,
    grid_size: tuple[int, int],
    window_size: int | None = None,
    relative_position_bias: bool | None = None,
    proj_drop: float = 0.0,
    **decided,
) -> nn.Module:
    """Build an attention from its config and from what its backbone gives it.

    Args:
        attn_cfg (dict): Config of the attention; its settings take precedence.
        grid_size (tuple[int, int]): Height and width of the grid that the
            backbone is built for, in tokens.
        window_size (int, optional): Height and width of a window, in tokens.
            Defaults to None: the attention's own default.
        relative_position_bias (bool, optional): Whether to add a bias by
            relative position, for attentions that have one. Defaults to None:
            the attention's own default.
        proj_drop (float): Dropout rate of the output. Defaults to 0.
        **decided: Arguments that only the architecture decides.

    Returns:
        nn.Module: The attention.

    Raises:
        ValueError: If ``attn_cfg`` sets what the architecture decides, or its
            type is not registered.
    """
    given = decided.keys() & attn_cfg.keys()
    if given:
        raise ValueError(f'attn_cfg sets {sorted(given)}, which arch decides: {decided}')
    attn_class = attn_cfg['type']
    if isinstance(attn_class, str):
        attn_class = MODELS.get(attn_class)
    if attn_class is None:
        raise ValueError(f'attn_cfg has type={attn_cfg["type"]!r}, which is not registered')
    defaults = dict(grid_size=grid_size, proj_drop=proj_drop)
    if window_size is not None:
        defaults['window_size'] = window_size
    if relative_position_bias is not None and getattr(attn_class, 'has_relative_position_bias', False):
        defaults['relative_position_bias'] = relative_position_bias
    return MODELS.build({**defaults, **attn_cfg, **decided})
