"""Architectures of backbones, by name or as a dict."""

from collections.abc import Sequence
from copy import deepcopy

#: The sizes of Swin Transformer, which other families share.
SWIN_SIZES: dict[str, dict[str, list]] = {
    'tiny': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
    'small': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24]),
    'base': dict(embed_dims=[128, 256, 512, 1024], depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]),
    'large': dict(embed_dims=[192, 384, 768, 1536], depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48]),
}


def arch_settings(
    arch: str | dict, arch_zoo: dict[str, dict[str, list]], at_least_one: Sequence[str]
) -> dict[str, list]:
    """Turn the name of an architecture, or a dict, into settings of stages.

    Args:
        arch (str | dict): The name, or a dict with one value per stage under
            each key that the zoo's entries have.
        arch_zoo (dict[str, dict[str, list]]): The family's architectures, by name.
        at_least_one (Sequence[str]): Keys whose values must be at least 1.

    Returns:
        dict[str, list]: The settings, a copy.

    Raises:
        ValueError: If ``arch`` is neither, or a value is out of its range.
    """
    if isinstance(arch, str) and arch in arch_zoo:
        return deepcopy(arch_zoo[arch])
    if not isinstance(arch, dict):
        raise ValueError(f'arch={arch!r} must be a name, one of {list(arch_zoo)}, or a dict')
    keys = list(next(iter(arch_zoo.values())))
    if set(arch) != set(keys):
        raise ValueError(f'arch has the keys {sorted(arch)}, a dict must have exactly {sorted(keys)}')
    single = [key for key in keys if not isinstance(arch[key], Sequence)]
    if single:
        raise ValueError(f'arch[{single[0]!r}]={arch[single[0]]!r} must have one value per stage')
    lengths = {key: len(arch[key]) for key in keys}
    if len(set(lengths.values())) != 1:
        raise ValueError(f'arch must have one value per stage under each key, got lengths {lengths}')
    for key in at_least_one:
        if min(arch[key]) < 1:
            raise ValueError(f'arch[{key!r}]={arch[key]} must be at least 1 in all stages')
    return deepcopy(dict(arch))
