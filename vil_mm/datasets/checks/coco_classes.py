"""Categories of a file in COCO's format, in whose order mmdet gives labels, against the classes of a dataset."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from .configured import repeats
from .messages import some


def check_classes(categories: Sequence[str], classes: Sequence[str], path: Path, where: str) -> None:
    """Check that the categories among the classes are all of the classes, once each, and in their order.

    Args:
        categories (Sequence[str]): Names of the categories, in the file's order.
        classes (Sequence[str]): Names of the classes, in the order of their
            labels.
        path (Path): The file.
        where (str): Name of the data loader or evaluator, for messages.

    Raises:
        ValueError: If they are not.
    """
    if twice := repeats(classes):
        raise ValueError(f'{where}: {len(twice)} classes are named more than once, {some(twice)}: name each once')
    wanted = set(classes)
    ordered = [name for name in categories if name in wanted]
    if not ordered:
        raise ValueError(
            f'{where}: none of the categories of {path}, {some(categories)}, is among the classes of the dataset, '
            f'{some(classes)}: set its metainfo=dict(classes=...)'
        )
    why = 'as mmdet numbers the categories in the order of the file'
    listed = set(ordered)
    absent = [name for name in classes if name not in listed]
    if absent:
        near = difflib.get_close_matches(str(absent[0]), [str(name) for name in categories if name not in wanted], 1)
        raise ValueError(
            f'{where}: {path} has no category {absent[0]!r}{f" (did you mean {near[0]!r}?)" if near else ""}, '
            f'one of {len(absent)} classes that it lacks; the labels of the classes after it would shift, {why}: '
            'correct metainfo=dict(classes=...), or list the category in the file, with or without objects'
        )
    if twice := repeats(ordered):
        raise ValueError(
            f'{where}: {path} has several categories named {twice[0]!r}; the labels of the classes after it would '
            f'shift, {why}: merge them into one'
        )
    wrong = next((pair for pair in enumerate(zip(ordered, classes)) if len(set(pair[1])) > 1), None)
    if wrong:
        label, (category, name) = wrong
        raise ValueError(
            f'{where}: the categories of {path} are in another order than the classes: {category!r} comes where label '
            f'{label}, {name!r}, must be, {why}: list the categories in the order of the classes, or the classes in '
            'that of the files if it is the same in all'
        )
