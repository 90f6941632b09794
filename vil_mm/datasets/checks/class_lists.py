"""Lists of class names."""

from collections.abc import Sequence


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
