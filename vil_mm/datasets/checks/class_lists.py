"""Lists of class names."""

from collections.abc import Sequence

from .messages import some


def difference(names: Sequence[str], expected: Sequence[str]) -> str:
    """Say how a list of names differs from the expected one."""
    given, wanted = set(names), set(expected)
    missing, extra = [name for name in expected if name not in given], [name for name in names if name not in wanted]
    parts = [f'{len(missing)} are missing, {some(missing)}'] if missing else []
    parts += [f'{len(extra)} are not among them, {some(extra)}'] if extra else []
    if parts:
        return ', and '.join(parts)
    if len(names) != len(expected):
        return f'they are {len(names)}, not {len(expected)}, as some occur twice'
    index = next(i for i, (name, other) in enumerate(zip(names, expected)) if name != other)
    return f'the order differs: number {index} is {names[index]!r}, not {expected[index]!r}'
