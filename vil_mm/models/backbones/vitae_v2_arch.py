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

# What the published models of a kind have in common: ViTAEv2, ViTAEv2* (windows in all stages) and ViTAEv2*-VSA.
_PUBLISHED: dict[str, list] = dict(
    groups=[1, 32, 64, 128],
    reduction_groups=[1, 16, 32, 64],
    dilations=[[1, 2, 3, 4], [1, 2, 3], [1, 2], [1, 2]],
)
_FULL: dict[str, list] = dict(
    _PUBLISHED,
    attn_cfgs=[WINDOW, WINDOW, FULL, FULL],
    reduction_attn_cfgs=[WINDOW, WINDOW, SKIP_FULL, SKIP_FULL],
    position_encoding=[False] * 4,
)
_WINDOW: dict[str, list] = dict(
    _PUBLISHED, attn_cfgs=[WINDOW] * 4, reduction_attn_cfgs=[WINDOW] * 4, position_encoding=[False] * 4
)
_VSA: dict[str, list] = dict(
    _PUBLISHED, attn_cfgs=[VARIED_SIZE] * 4, reduction_attn_cfgs=[VARIED_SIZE] * 4, position_encoding=[True] * 4
)

# The sizes of ViTAEv2 and ViTAEv2*.
_SMALL = dict(
    embed_dims=[64, 128, 256, 512],
    depths=[2, 2, 8, 2],
    num_heads=[1, 2, 4, 8],
    branch_dims=[64, 64, 128, 256],
    hidden_dims=[64, 64, 128, 256],
    reduction_heads=[1, 1, 2, 4],
)
_48M = dict(
    embed_dims=[96, 192, 384, 768],
    depths=[2, 2, 11, 2],
    num_heads=[1, 2, 4, 8],
    branch_dims=[64, 64, 192, 384],
    hidden_dims=[64, 64, 192, 384],
    reduction_heads=[1, 1, 2, 4],
)
_BASE = dict(
    embed_dims=[128, 256, 512, 1024],
    depths=[2, 2, 12, 2],
    num_heads=[1, 4, 8, 16],
    branch_dims=[96, 96, 256, 512],
    hidden_dims=[96, 96, 256, 512],
    reduction_heads=[1, 1, 4, 8],
)

#: The published models, and a small one for demos.
ARCH_ZOO: dict[str, dict[str, list]] = {
    'small': dict(_FULL, **_SMALL),
    '48m': dict(_FULL, **_48M),
    'base': dict(_FULL, **_BASE),
    'window-small': dict(_WINDOW, **_SMALL),
    'window-48m': dict(_WINDOW, **_48M),
    'window-base': dict(_WINDOW, **_BASE),
    'vsa-nano': dict(
        embed_dims=[32, 64, 128, 256],
        depths=[1, 1, 2, 1],
        num_heads=[1, 2, 4, 8],
        groups=[1, 8, 16, 32],
        attn_cfgs=[dict(VARIED_SIZE, window_size=4)] * 4,
        branch_dims=[16, 32, 64, 128],
        hidden_dims=[32, 32, 64, 128],
        reduction_heads=[1, 2, 4, 8],
        reduction_groups=[1, 4, 8, 16],
        reduction_attn_cfgs=[dict(VARIED_SIZE, window_size=4)] * 4,
        dilations=[[1, 2]] * 4,
        position_encoding=[True] * 4,
    ),
    # the only published one with varied-size windows whose parallel convolutions are narrow
    'vsa-small': dict(
        _VSA,
        embed_dims=[64, 128, 256, 512],
        depths=[2, 2, 8, 2],
        num_heads=[2, 4, 8, 16],
        branch_dims=[64, 64, 128, 256],
        hidden_dims=[64, 64, 128, 256],
        reduction_heads=[2, 2, 4, 8],
    ),
    'vsa-small-wide': dict(
        _VSA,
        embed_dims=[64, 128, 256, 512],
        depths=[2, 2, 8, 2],
        num_heads=[2, 4, 8, 16],
        branch_dims=[64, 64, 128, 256],
        hidden_dims=[128, 256, 512, 1024],
        reduction_heads=[2, 4, 8, 16],
    ),
    'vsa-48m': dict(
        _VSA,
        embed_dims=[96, 192, 384, 768],
        depths=[2, 2, 11, 2],
        num_heads=[3, 6, 12, 24],
        branch_dims=[96, 96, 192, 384],
        hidden_dims=[192, 384, 768, 1536],
        reduction_heads=[3, 6, 12, 24],
    ),
    'vsa-base': dict(
        _VSA,
        embed_dims=[128, 256, 512, 1024],
        depths=[2, 2, 12, 2],
        num_heads=[4, 8, 16, 32],
        branch_dims=[128, 128, 256, 512],
        hidden_dims=[256, 512, 1024, 2048],
        reduction_heads=[4, 8, 16, 32],
    ),
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
