"""Messages about data."""

import logging
from collections.abc import Sequence

from mmengine.logging import print_log

SHOWN = 3


def some(items: Sequence) -> str:
    """Name the first few items."""
    return 'such as ' + '; '.join(map(str, items[:SHOWN]))


def warn(loader: str, items: Sequence, what: str) -> None:
    """Log how many items there are of which something is to be said, if any, and the first few."""
    if items:
        print_log(f'{loader}: {len(items)} {what}; {some(items)}', 'current', logging.WARNING)


def stop(loader: str, found: Sequence, what: str, advice: str) -> None:
    """Raise an error that counts and names what was found, if anything was, and says what to do.

    Raises:
        ValueError: If anything was found.
    """
    if found:
        raise ValueError(f'{loader}: {len(found)} {what}; {some(found)}: {advice}')


def note(loader: str, what: str) -> None:
    """Log something that needs no action."""
    print_log(f'{loader}: {what}', 'current')


def difference(names: Sequence[str], expected: Sequence[str]) -> str:
    """Say how a list of names differs from another, in words that follow what the first is called.

    Args:
        names (Sequence[str]): Names.
        expected (Sequence[str]): Other names.
    """
    given, wanted = set(names), set(expected)
    missing, extra = [name for name in expected if name not in given], [name for name in names if name not in wanted]
    parts = [f'lacks {len(missing)} of them, {some(missing)}'] if missing else []
    parts += [f'has {len(extra)} others, {some(extra)}'] if extra else []
    if not parts and len(names) != len(expected):
        parts = [f'has {len(names)} of them, not {len(expected)}, as some occur twice']
    elif not parts:
        index = next(i for i, (name, other) in enumerate(zip(names, expected)) if name != other)
        parts = [f'has them in another order: number {index} is {names[index]!r}, not {expected[index]!r}']
    return ' and '.join(parts)
