"""Architectures of ViTAEv2."""

from ..base.arch import arch_settings

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


# The sizes of ViTAEv2 and ViTAEv2*.
_SMALL = [64, 128, 256, 512], [2, 2, 8, 2], [1, 2, 4, 8], [64, 64, 128, 256], [64, 64, 128, 256], [1, 1, 2, 4]
_48M = [96, 192, 384, 768], [2, 2, 11, 2], [1, 2, 4, 8], [64, 64, 192, 384], [64, 64, 192, 384], [1, 1, 2, 4]
_BASE = [128, 256, 512, 1024], [2, 2, 12, 2], [1, 4, 8, 16], [96, 96, 256, 512], [96, 96, 256, 512], [1, 1, 4, 8]
# Those of ViTAEv2*-VSA. Only the first has narrow parallel convolutions.
_VSA_SMALL = [64, 128, 256, 512], [2, 2, 8, 2], [2, 4, 8, 16], [64, 64, 128, 256], [64, 64, 128, 256], [2, 2, 4, 8]
_WIDE = [64, 128, 256, 512], [2, 2, 8, 2], [2, 4, 8, 16], [64, 64, 128, 256], [128, 256, 512, 1024], [2, 4, 8, 16]
_VSA_48M = [96, 192, 384, 768], [2, 2, 11, 2], [3, 6, 12, 24], [96, 96, 192, 384], [192, 384, 768, 1536], [3, 6, 12, 24]
_VSA_BASE = (
    [128, 256, 512, 1024],
    [2, 2, 12, 2],
    [4, 8, 16, 32],
    [128, 128, 256, 512],
    [256, 512, 1024, 2048],
    [4, 8, 16, 32],
)
_NANO = [32, 64, 128, 256], [1, 1, 2, 1], [1, 2, 4, 8], [16, 32, 64, 128], [32, 32, 64, 128], [1, 2, 4, 8]

#: The published models, and a small one for demos.
ARCH_ZOO: dict[str, dict[str, list]] = {
    'small': _arch(PUBLISHED, *_SMALL),
    '48m': _arch(PUBLISHED, *_48M),
    'base': _arch(PUBLISHED, *_BASE),
    'window-small': _arch(STAR, *_SMALL),
    'window-48m': _arch(STAR, *_48M),
    'window-base': _arch(STAR, *_BASE),
    'vsa-nano': dict(
        _arch(VSA, *_NANO),
        groups=[1, 8, 16, 32],
        attn_cfgs=[dict(VARIED_SIZE, window_size=4)] * 4,
        reduction_groups=[1, 4, 8, 16],
        reduction_attn_cfgs=[dict(VARIED_SIZE, window_size=4)] * 4,
        dilations=[[1, 2]] * 4,
    ),
    'vsa-small': _arch(VSA, *_VSA_SMALL),
    'vsa-small-wide': _arch(VSA, *_WIDE),
    'vsa-48m': _arch(VSA, *_VSA_48M),
    'vsa-base': _arch(VSA, *_VSA_BASE),
}


def resolve_arch(arch: str | dict) -> dict[str, list]:
    """Turn a name of ``ARCH_ZOO`` or a dict into settings, one value per stage under each key of its entries.

    Raises:
        ValueError: If it is neither.
    """
    positive = [key for key in ARCH_ZOO['small'] if key.endswith(('_dims', 'heads', 'groups', 'depths'))]
    settings = arch_settings(arch, ARCH_ZOO, positive)
    if len(settings['depths']) != 4:
        raise ValueError(f'arch has {len(settings["depths"])} stages, must have 4')
    for key in ('attn_cfgs', 'reduction_attn_cfgs'):
        if not all('type' in cfg for cfg in settings[key]):
            raise ValueError(f'arch[{key!r}]={settings[key]} must have a type in all stages')
    if not all(dilations and min(dilations) >= 1 for dilations in settings['dilations']):
        raise ValueError(f"arch['dilations']={settings['dilations']} must have dilations of at least 1 in all stages")
    for groups, key in (
        ('groups', 'embed_dims'),
        ('reduction_groups', 'hidden_dims'),
        ('reduction_groups', 'embed_dims'),
    ):
        if any(width % group for width, group in zip(settings[key], settings[groups])):
            raise ValueError(f'arch[{groups!r}]={settings[groups]} must divide arch[{key!r}]={settings[key]}')
    return settings
