"""How a backbone configures its attentions, and how the argument ``attn_cfg`` changes them."""

from collections.abc import Sequence
from typing import Annotated

from torch import nn

from ...arguments import Name, Size, check_arguments
from ...registry import MODELS, advise, find_class, registered_in

#: The config of an attention.
AttentionCfg = Annotated[dict, registered_in(MODELS, "dict(type='vil_mm.FullAttention')")]
#: Changes to the attentions of an architecture.
AttnCfg = dict | Sequence[dict | None] | None


def merge_attn_cfg(attn_cfgs: Sequence[dict], changes: AttnCfg, own_type: str, argument: str) -> list[dict]:
    """Change the attentions of an architecture; see :class:`AttentionFactory`.

    Raises:
        ValueError: If ``changes`` is neither a dict nor has one entry per
            stage, or if it is a dict without ``type`` that finds nothing to
            change.
    """
    own = [cfg['type'] == own_type for cfg in attn_cfgs]
    if isinstance(changes, dict):
        if 'type' not in changes and not any(own):
            raise ValueError(
                f'{argument}={changes} has no type, so it changes the attentions of type {own_type!r}, of which arch '
                'has none'
            )
        changes = [changes if 'type' in changes or is_own else None for is_own in own]
    if changes is None:
        changes = [None] * len(attn_cfgs)
    if len(changes) != len(attn_cfgs):
        raise ValueError(f'{argument}={changes!r} must be a dict, or have one entry per stage, {len(attn_cfgs)}')
    return [
        dict(change) if change and 'type' in change else dict(cfg, **(change or {}))
        for cfg, change in zip(attn_cfgs, changes)
    ]


class AttentionFactory:
    """Builds the attentions of a backbone.

    Args:
        attn_cfgs (Sequence[dict]): Config of the attention of each stage, as
            the architecture says.
        changes (dict | Sequence[dict | None], optional): The backbone's
            argument ``attn_cfg``, see :class:`BaseBackbone`.
        own_type (str): The family's own kind, as ``attn_cfgs`` name it.
        grids (Sequence[tuple[int, int]]): Grid that each stage is built for.
        argument (str): What errors call ``changes``. Defaults to
            ``'attn_cfg'``.
        **given: Arguments that the backbone gives every attention, such as
            ``proj_drop``. Settings in ``attn_cfg`` take precedence.

    Raises:
        ValueError: If ``changes`` does not fit the stages.
    """

    @check_arguments
    def __init__(
        self,
        attn_cfgs: Sequence[AttentionCfg],
        changes: AttnCfg,
        own_type: Name,
        grids: Sequence[tuple[Size, Size]],
        argument: Name = 'attn_cfg',
        **given,
    ) -> None:
        if len(grids) != len(attn_cfgs):
            raise ValueError(f'attn_cfgs has {len(attn_cfgs)} stages, but grids has {len(grids)}')
        self.attn_cfgs = merge_attn_cfg(attn_cfgs, changes, own_type, argument)
        self.argument = argument
        self.grids = grids
        self.given = given

    def build(self, stage: int, *, relative_position_bias: bool | None = None, **decided) -> nn.Module:
        """Build an attention.

        Args:
            stage (int): Index of the stage.
            relative_position_bias (bool, optional): Whether to add a bias by
                relative position, for attentions that have one. Defaults to
                None: the attention's own default.
            **decided: Arguments that only the architecture decides.

        Raises:
            ValueError: If ``attn_cfg`` sets what the architecture decides, or
                its type is not registered.
        """
        attn_cfg = self.attn_cfgs[stage]
        decided.setdefault('num_global_tokens', 0)
        conflicts = decided.keys() & attn_cfg.keys()
        if conflicts:
            raise ValueError(f'{self.argument} sets {sorted(conflicts)}, which arch decides: {decided}')
        kind = attn_cfg['type']
        attn_class = find_class(kind, MODELS)
        if attn_class is None:
            raise ValueError(f'{self.argument} has type={kind!r}, which is not registered: {advise(kind, MODELS.root)}')
        given = dict(self.given, grid_size=self.grids[stage])
        if relative_position_bias is not None and getattr(attn_class, 'has_relative_position_bias', False):
            given['relative_position_bias'] = relative_position_bias
        return MODELS.build({**given, **attn_cfg, **decided})
