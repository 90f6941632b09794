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
