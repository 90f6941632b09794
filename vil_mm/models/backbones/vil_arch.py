"""Architectures of Vision Longformer: the named ones, and the published arch strings."""

from typing import Any, TypeGuard

from ...arguments import Count, Size
from ..base.arch import SIZES, arch_settings

#: What a value of one stage allows, by key.
ARCH_HINTS: dict[str, Any] = dict(
    SIZES, num_global_tokens=Count, patch_sizes=Size, attn_cfgs=dict, absolute_position=bool
)

SLIDING_WINDOW: dict = dict(type='vil_mm.SlidingWindowAttention', window_size=7)
FULL = dict(type='vil_mm.FullAttention')


def _arch(embed_dims: list[int], depths: list[int], num_heads: list[int], window_size: int = 7) -> dict[str, list]:
    """What all named architectures have in common."""
    sliding_window = dict(SLIDING_WINDOW, window_size=window_size)
    return dict(
        embed_dims=embed_dims,
        depths=depths,
        num_heads=num_heads,
        num_global_tokens=[1, 1, 1, 0],
        patch_sizes=[4, 2, 2, 2],
        attn_cfgs=[sliding_window, sliding_window, FULL, FULL],
        absolute_position=[False] * 4,
    )


#: The published models, and a small one for demos. Of ViL-Swin no architecture was published: depths and widths follow
#: from its published parameters and FLOPs, the heads are Swin's.
ARCH_ZOO = {
    'nano': _arch([32, 64, 128, 256], [1, 1, 4, 1], [2, 2, 4, 8], window_size=4),
    'tiny': _arch([48, 96, 192, 384], [1, 1, 9, 1], [1, 3, 3, 6]),
    'small': _arch([96, 192, 384, 768], [1, 2, 8, 1], [3, 3, 6, 12]),
    'medium-deep': _arch([96, 192, 384, 768], [1, 4, 16, 1], [3, 3, 6, 12]),
    'medium-wide': _arch([192, 384, 512, 768], [1, 2, 8, 1], [3, 6, 8, 12]),
    'base-deep': _arch([96, 192, 384, 768], [1, 8, 24, 1], [3, 3, 6, 12]),
    'base-wide': _arch([192, 384, 768, 1024], [1, 2, 8, 1], [3, 6, 12, 16]),
    'swin-tiny': _arch([96, 192, 384, 768], [2, 2, 6, 2], [3, 6, 12, 24]),
    'swin-small': _arch([96, 192, 384, 768], [2, 2, 18, 2], [3, 6, 12, 24]),
}

# Letter of a published arch string: (what it means, default)
_FIELDS = {
    'l': ('stage number', None),
    'h': ('num_heads', 3),
    'd': ('embed_dims', 192),
    'n': ('depths', 1),
    's': ('sparse attention', 1),
    'g': ('num_global_tokens', 1),
    'p': ('patch_sizes', 2),
    'f': ('window size or number of features or reduction ratio, as the attention has it', 7),
    'a': ('absolute_position', 1),
}


def parse_arch_string(arch: str) -> dict[str, list]:
    """Read a published arch string, such as ``l1,h3,d96,n1,s1,g1,p4,f7,a0_l2,...``.

    Stages are joined by ``_``, fields by ``,``; a field is a letter and an
    integer. As published, the first stage with ``s0`` (full attention) makes
    all later ones full too, whatever they say.

    Args:
        arch (str): The string, of three or four stages.

    Returns:
        dict[str, list]: Per-stage settings under the keys of ``ARCH_HINTS``.

    Raises:
        ValueError: If it is malformed; the message names stage and field.
    """
    settings: dict[str, list[Any]] = {key: [] for key in ARCH_HINTS}
    for fields in parse_stages(arch):
        for letter in 'hdngp':
            settings[_FIELDS[letter][0]].append(fields[letter])
        settings['absolute_position'].append(bool(fields['a']))
        settings['attn_cfgs'].append(dict(SLIDING_WINDOW, window_size=fields['f']) if fields['s'] else FULL)
    return settings


def parse_stages(arch: str) -> list[dict[str, int]]:
    """Read the fields of all stages; from the first ``s0`` on, all say so."""
    stages = [_parse_stage(stage, number) for number, stage in enumerate(arch.split('_'), start=1)]
    if len(stages) not in (3, 4):
        raise ValueError(f'arch={arch!r} has {len(stages)} stage(s), must have 3 or 4, joined by "_"')
    sparse = 1
    for fields in stages:
        sparse = fields['s'] = min(sparse, fields['s'])
    return stages


def _parse_stage(stage: str, number: int) -> dict[str, int]:
    """Read the fields of one stage, defaults filled in."""
    fields = {letter: default for letter, (_, default) in _FIELDS.items()}
    given = set()
    for field in stage.split(','):
        letter, value = field[:1], field[1:]
        where = f'arch field {field!r} in stage {number} ({stage!r})'
        if letter not in _FIELDS or not (value.isascii() and value.isdigit()):
            meanings = ', '.join(f'{letter} ({meaning})' for letter, (meaning, _) in _FIELDS.items())
            raise ValueError(f'{where} must be one letter and an integer; the letters are {meanings}')
        if letter in given:
            raise ValueError(f'{where} is given twice')
        if letter in 'sa' and value not in ('0', '1'):
            raise ValueError(f'{where} must be {letter}0 or {letter}1')
        if letter in 'hdnpf' and int(value) < 1:
            raise ValueError(f'{where} must be at least {letter}1')
        given.add(letter)
        fields[letter] = int(value)
    if fields['l'] != number:
        raise ValueError(f'arch stage {number} ({stage!r}) must say l{number}')
    return fields


def join_arch(arch: Any) -> str | dict:
    """Put an arch string together whose commas were taken for those of a list, as mmengine's ``--cfg-options`` does."""
    if isinstance(arch, (list, tuple)) and all(isinstance(field, str) for field in arch):
        return ','.join(arch)
    return arch


def is_arch_string(arch: object) -> TypeGuard[str]:
    """Tell a published arch string from the name of an architecture."""
    return isinstance(arch, str) and ',' in arch


def resolve_arch(arch: str | dict) -> dict[str, list]:
    """Turn a name of ``ARCH_ZOO``, a published arch string or a dict into settings.

    Raises:
        ValueError: If it is none of them.
    """
    if is_arch_string(arch):
        return parse_arch_string(arch)
    if isinstance(arch, str) and arch not in ARCH_ZOO:
        raise ValueError(
            f'arch={arch!r} is not one of {list(ARCH_ZOO)}, nor a published arch string such as '
            "'l1,h3,d96,n1,s1,g1,p4,f7,a0_l2,...'"
        )
    return arch_settings(arch, ARCH_ZOO, ARCH_HINTS)
