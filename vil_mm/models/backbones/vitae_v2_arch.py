"""Architectures of ViTAEv2."""

from ..base.arch import arch_settings

WINDOW = dict(type='vil_mm.WindowAttention', window_size=7, padding='both')
FULL = dict(type='vil_mm.FullAttention')
#: The attention of a reduction cell with full attention.
SKIP_FULL = dict(FULL, skip_values=True, qkv_bias=False)
VARIED_SIZE = dict(type='vil_mm.VariedSizeWindowAttention', window_size=7)

#: What an architecture says of each stage:
#: ``embed_dims``, ``depths``, ``num_heads``, ``groups``, ``attn_cfgs``: channels, blocks, and the blocks' heads, groups
#: of the convolutions, and attention;
#: ``branch_dims``, ``hidden_dims``, ``reduction_heads``, ``reduction_groups``, ``reduction_attn_cfgs``, ``dilations``:
#: the reduction cell's channels of each dilated convolution and of the parallel ones, heads, groups, attention, and
#: dilations;
#: ``position_encoding``: whether attentions have a convolutional position encoding.
ARCH_KEYS = (
    'embed_dims',
    'depths',
    'num_heads',
    'groups',
    'attn_cfgs',
    'branch_dims',
    'hidden_dims',
    'reduction_heads',
    'reduction_groups',
    'reduction_attn_cfgs',
    'dilations',
    'position_encoding',
)

# (embed_dims, depths) of each size
_SIZES = {
    'small': ([64, 128, 256, 512], [2, 2, 8, 2]),
    '48m': ([96, 192, 384, 768], [2, 2, 11, 2]),
    'base': ([128, 256, 512, 1024], [2, 2, 12, 2]),
}
# (branch_dims, num_heads, reduction_heads) of each size
_PLAIN = {
    'small': ([64, 64, 128, 256], [1, 2, 4, 8], [1, 1, 2, 4]),
    '48m': ([64, 64, 192, 384], [1, 2, 4, 8], [1, 1, 2, 4]),
    'base': ([96, 96, 256, 512], [1, 4, 8, 16], [1, 1, 4, 8]),
}
_VARIED_SIZE = {
    'small': ([64, 64, 128, 256], [2, 4, 8, 16], [2, 2, 4, 8]),
    'small-wide': ([64, 64, 128, 256], [2, 4, 8, 16], [2, 4, 8, 16]),
    '48m': ([96, 96, 192, 384], [3, 6, 12, 24], [3, 6, 12, 24]),
    'base': ([128, 128, 256, 512], [4, 8, 16, 32], [4, 8, 16, 32]),
}


def _published(
    size: str,
    variant: tuple[list[int], list[int], list[int]],
    attn_cfgs: list[dict],
    reduction_attn_cfgs: list[dict] | None = None,
    wide: bool = False,
    position_encoding: bool = False,
) -> dict[str, list]:
    """What all published models have in common."""
    embed_dims, depths = _SIZES[size]
    branch_dims, num_heads, reduction_heads = variant
    return dict(
        embed_dims=embed_dims,
        depths=depths,
        num_heads=num_heads,
        groups=[1, 32, 64, 128],
        attn_cfgs=attn_cfgs,
        branch_dims=branch_dims,
        hidden_dims=[2 * dims for dims in embed_dims] if wide else branch_dims,
        reduction_heads=reduction_heads,
        reduction_groups=[1, 16, 32, 64],
        reduction_attn_cfgs=reduction_attn_cfgs or attn_cfgs,
        dilations=[[1, 2, 3, 4], [1, 2, 3], [1, 2], [1, 2]],
        position_encoding=[position_encoding] * 4,
    )


#: The published models: ViTAEv2, ViTAEv2* (``window``, which has windows in all stages) and ViTAEv2*-VSA (``vsa``).
ARCH_ZOO = {
    **{
        size: _published(size, variant, [WINDOW, WINDOW, FULL, FULL], [WINDOW, WINDOW, SKIP_FULL, SKIP_FULL])
        for size, variant in _PLAIN.items()
    },
    **{f'window-{size}': _published(size, variant, [WINDOW] * 4) for size, variant in _PLAIN.items()},
    **{
        f'vsa-{name}': _published(
            name.removesuffix('-wide'),
            variant,
            [VARIED_SIZE] * 4,
            # of the published models, the small one alone has narrow parallel convolutions
            wide=name != 'small',
            position_encoding=True,
        )
        for name, variant in _VARIED_SIZE.items()
    },
}


def resolve_arch(arch: str | dict) -> dict[str, list]:
    """Turn a name of ``ARCH_ZOO`` or a dict into settings, one value per stage under each of ``ARCH_KEYS``.

    Raises:
        ValueError: If it is neither.
    """
    settings = arch_settings(
        arch, ARCH_ZOO, [key for key in ARCH_KEYS if key.endswith(('_dims', 'heads', 'groups', 'depths'))]
    )
    if len(settings['depths']) != 4:
        raise ValueError(f'arch has {len(settings["depths"])} stages, must have 4')
    for key in ('attn_cfgs', 'reduction_attn_cfgs'):
        if not all('type' in cfg for cfg in settings[key]):
            raise ValueError(f'arch[{key!r}]={settings[key]} must have a type in all stages')
    if not all(dilations and min(dilations) >= 1 for dilations in settings['dilations']):
        raise ValueError(f"arch['dilations']={settings['dilations']} must have dilations of at least 1 in all stages")
    for groups, widths in (
        ('groups', ['embed_dims']),
        ('reduction_groups', ['hidden_dims', 'embed_dims']),
    ):
        for key in widths:
            if any(width % group for width, group in zip(settings[key], settings[groups])):
                raise ValueError(f'arch[{groups!r}]={settings[groups]} must divide arch[{key!r}]={settings[key]}')
    return settings
