"""Lists of class names."""

from collections.abc import Sequence

from .messages import some


def as_class_list(names: Sequence[str] | str | None, where: str) -> list[str] | None:
    """Make a list of a dataset's class names, if it has any.

    Args:
        names (Sequence[str] | str, optional): The names.
        where (str): Name of the data loader, for messages.

    Raises:
        ValueError: If it is a string, whose letters would be the classes.
    """
    if isinstance(names, str):
        raise ValueError(f'{where}: classes={names!r} must be a list of names, such as [{names!r}], or a file of them')
    return list(names) if names else None


def difference(names: Sequence[str], expected: Sequence[str]) -> str:
    """Say how a list of names differs from another, in words that follow what the first is called."""
    given, wanted = set(names), set(expected)
    missing, extra = [name for name in expected if name not in given], [name for name in names if name not in wanted]
    parts = [f'lacks {len(missing)} of them, {some(missing)}'] if missing else []
    parts += [f'has {len(extra)} others, {some(extra)}'] if extra else []
    if parts:
        return ' and '.join(parts)
    if len(names) != len(expected):
        return f'has {len(names)} of them, not {len(expected)}, as some occur twice'
    index = next(i for i, (name, other) in enumerate(zip(names, expected)) if name != other)
    return f'has them in another order: number {index} is {names[index]!r}, not {expected[index]!r}'
