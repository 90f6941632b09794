"""Architectures of ViTAEv2."""

from collections.abc import Sequence
from typing import Any

from ...arguments import Size
from ..base.arch import arch_settings
from ..base.attn_cfg import AttentionCfg

WINDOW: dict = dict(type='vil_mm.WindowAttention', window_size=7, padding='both')
FULL: dict = dict(type='vil_mm.FullAttention')
#: The attention of a reduction cell with full attention.
SKIP_FULL: dict = dict(FULL, skip_values=True, qkv_bias=False)
VARIED_SIZE: dict = dict(type='vil_mm.VariedSizeWindowAttention', window_size=7)

#: The attentions of ViTAEv2, ViTAEv2* and ViTAEv2*-VSA: those of the blocks, and those of the reduction cells.
PUBLISHED = [WINDOW, WINDOW, FULL, FULL], [WINDOW, WINDOW, SKIP_FULL, SKIP_FULL]
STAR = [WINDOW] * 4, [WINDOW] * 4
VSA = [VARIED_SIZE] * 4, [VARIED_SIZE] * 4


def _arch(
    attns: tuple[list[dict], list[dict]],
    embed_dims: list[int],
    depths: list[int],
    num_heads: list[int],
    branch_dims: list[int],
    hidden_dims: list[int],
    reduction_heads: list[int],
) -> dict[str, list]:
    """What all published architectures have in common."""
    return dict(
        # channels, number of blocks, and the blocks' heads, groups of their convolutions, and attention
        embed_dims=embed_dims,
        depths=depths,
        num_heads=num_heads,
        groups=[1, 32, 64, 128],
        attn_cfgs=attns[0],
        # the reduction cell's channels of each dilated convolution and of the parallel ones, heads, groups, attention,
        # and dilations
        branch_dims=branch_dims,
        hidden_dims=hidden_dims,
        reduction_heads=reduction_heads,
        reduction_groups=[1, 16, 32, 64],
        reduction_attn_cfgs=attns[1],
        dilations=[[1, 2, 3, 4], [1, 2, 3], [1, 2], [1, 2]],
        # whether attentions have a convolutional position encoding
        position_encoding=[attns is VSA] * 4,
    )


def _wide_vsa(embed_dims: list[int], depths: list[int]) -> dict[str, list]:
    """What the sizes of ViTAEv2*-VSA with wide parallel convolutions have in common."""
    num_heads = [width // 32 for width in embed_dims]
    branch_dims, hidden_dims = [embed_dims[0], *embed_dims[:3]], [2 * width for width in embed_dims]
    return _arch(VSA, embed_dims, depths, num_heads, branch_dims, hidden_dims, num_heads)


# The sizes of ViTAEv2 and ViTAEv2*, of the small ViTAEv2*-VSA, and of the demo.
_SMALL = [64, 128, 256, 512], [2, 2, 8, 2], [1, 2, 4, 8], [64, 64, 128, 256], [64, 64, 128, 256], [1, 1, 2, 4]
_48M = [96, 192, 384, 768], [2, 2, 11, 2], [1, 2, 4, 8], [64, 64, 192, 384], [64, 64, 192, 384], [1, 1, 2, 4]
_BASE = [128, 256, 512, 1024], [2, 2, 12, 2], [1, 4, 8, 16], [96, 96, 256, 512], [96, 96, 256, 512], [1, 1, 4, 8]
_VSA_SMALL = [64, 128, 256, 512], [2, 2, 8, 2], [2, 4, 8, 16], [64, 64, 128, 256], [64, 64, 128, 256], [2, 2, 4, 8]
_VSA_NANO = [32, 64, 128, 256], [1, 1, 2, 1], [1, 2, 4, 8], [16, 32, 64, 128], [32, 32, 64, 128], [1, 2, 4, 8]

#: The published models, and a small one for demos.
ARCH_ZOO: dict[str, dict[str, list]] = {
    'small': _arch(PUBLISHED, *_SMALL),
    '48m': _arch(PUBLISHED, *_48M),
    'base': _arch(PUBLISHED, *_BASE),
    'window-small': _arch(STAR, *_SMALL),
    'window-48m': _arch(STAR, *_48M),
    'window-base': _arch(STAR, *_BASE),
    'vsa-nano': dict(
        _arch(VSA, *_VSA_NANO),
        groups=[1, 8, 16, 32],
        attn_cfgs=[dict(VARIED_SIZE, window_size=4)] * 4,
        reduction_groups=[1, 4, 8, 16],
        reduction_attn_cfgs=[dict(VARIED_SIZE, window_size=4)] * 4,
        dilations=[[1, 2]] * 4,
    ),
    'vsa-small': _arch(VSA, *_VSA_SMALL),
    'vsa-small-wide': _wide_vsa([64, 128, 256, 512], [2, 2, 8, 2]),
    'vsa-48m': _wide_vsa([96, 192, 384, 768], [2, 2, 11, 2]),
    'vsa-base': _wide_vsa([128, 256, 512, 1024], [2, 2, 12, 2]),
}

#: What a value of one stage allows, by key.
ARCH_HINTS: dict[str, Any] = dict.fromkeys(ARCH_ZOO['small'], Size) | dict(
    attn_cfgs=AttentionCfg, reduction_attn_cfgs=AttentionCfg, dilations=Sequence[Size], position_encoding=bool
)


def resolve_arch(arch: str | dict) -> dict[str, list]:
    """Turn a name of ``ARCH_ZOO`` or a dict into settings, one value per stage under each key of its entries.

    Raises:
        ValueError: If it is neither.
    """
    settings = arch_settings(arch, ARCH_ZOO, ARCH_HINTS)
    if len(settings['depths']) != 4:
        raise ValueError(f'arch has {len(settings["depths"])} stages, must have 4')
    if not all(settings['dilations']):
        raise ValueError(f"arch['dilations']={settings['dilations']} must have dilations in all stages")
    for groups, key in (
        ('groups', 'embed_dims'),
        ('reduction_groups', 'hidden_dims'),
        ('reduction_groups', 'embed_dims'),
    ):
        if any(width % group for width, group in zip(settings[key], settings[groups])):
            raise ValueError(f'arch[{groups!r}]={settings[groups]} must divide arch[{key!r}]={settings[key]}')
    return settings
