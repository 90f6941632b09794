"""Architectures of backbones, by name or as a dict."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Annotated, Any

from ...arguments import NOT_EMPTY, Size, check, check_arguments

#: What a setting of one stage allows, by key; other keys allow any value.
SIZES = dict(embed_dims=Size, depths=Size, num_heads=Size)
#: The sizes of Swin Transformer, which other families share.
SWIN_SIZES: dict[str, dict[str, list]] = {
    'tiny': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
    'small': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24]),
    'base': dict(embed_dims=[128, 256, 512, 1024], depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]),
    'large': dict(embed_dims=[192, 384, 768, 1536], depths=[2, 2, 18, 2], num_heads=[6, 12, 24, 48]),
}


@check_arguments
def arch_settings(
    arch: str | dict, arch_zoo: Annotated[dict[str, dict[str, list]], NOT_EMPTY], hints: Mapping[str, Any] = SIZES
) -> dict[str, list]:
    """Turn the name of an architecture, or a dict, into settings of stages.

    Args:
        arch (str | dict): The name, or a dict with one value per stage under
            each key that the zoo's entries have.
        arch_zoo (dict[str, dict[str, list]]): The family's architectures, by name.
        hints (Mapping[str, Any]): What a value allows, as an annotation, by
            key. Defaults to ``SIZES``.

    Returns:
        dict[str, list]: The settings, a copy.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If ``arch`` is neither, or a value is out of its range.
    """
    if isinstance(arch, str) and arch in arch_zoo:
        return deepcopy(arch_zoo[arch])
    if not isinstance(arch, dict):
        raise ValueError(f'arch={arch!r} must be a name, one of {list(arch_zoo)}, or a dict')
    keys = list(next(iter(arch_zoo.values())))
    if set(arch) != set(keys):
        raise ValueError(f'arch has the keys {sorted(arch)}, a dict must have exactly {sorted(keys)}')
    for key in keys:
        hint = hints.get(key, Any)
        check(f'arch[{key!r}]', arch[key], Sequence[hint])  # type: ignore[valid-type]
    lengths = {key: len(arch[key]) for key in keys}
    if len(set(lengths.values())) != 1 or 0 in lengths.values():
        raise ValueError(f'arch must have one value per stage under each key, got lengths {lengths}')
    return deepcopy(dict(arch))
