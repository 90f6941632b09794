"""What the pixels of label maps hold."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import mmcv
import numpy as np

from .image_files import Header, spread
from .messages import note, stop, warn
from .palettes import Color, Colored, make_colored, read_palette

#: How many of a dataset's label maps are read.
SAMPLE = 1000
#: How few of them need not have every common class.
FEW = 5
#: How many of them there must be for each class to expect all classes.
ENOUGH = 5
#: How many of them, with how many numbers of values, tell whether each numbers its values anew, as objects are.
MANY, NUMBERS = 20, 4


class Labels(NamedTuple):
    """How mmseg turns the values in label maps into labels.

    Args:
        number (int, optional): Number of classes. None if unknown.
        ignored (int): The label that the loss ignores.
        reduced (bool): Whether ``reduce_zero_label`` is set.
        mapping (dict[int, int], optional): Maps old labels to new ones, if only
            some of the dataset's classes are used.
        first (str): Name of the class with label 0. Defaults to ``''``.
    """

    number: int | None
    ignored: int
    reduced: bool
    mapping: dict[int, int] | None
    first: str = ''

    def label(self, value: int) -> int:
        """Return the label that a value is turned into."""
        if self.reduced:
            value = 255 if value in (0, 255) else value - 1
        return (self.mapping or {}).get(value, value)

    def used(self, values: Iterable[int]) -> set[int]:
        """Return the labels that values are turned into, except for the ignored one."""
        return {self.label(value) for value in values} - {self.ignored}

    def foreign(self, values: Iterable[int]) -> list[int]:
        """List the values that do not belong to any class and are not ignored."""
        return [value for value in values if self.number and any(v >= self.number for v in self.used([value]))]

    def allowed(self) -> str:
        """Describe the allowed values, for messages."""
        first, count = int(self.reduced), len(self.mapping or ()) or self.number
        ignored = [value for value in (0, 255) if self.label(value) == self.ignored]
        text = f'values must be {first} to {first + count - 1}, for {count} classes'
        return f'{text}, or {" or ".join(map(str, ignored))}, to be ignored' if ignored else text


def check_label_values(where: str, maps: Sequence[tuple[Path, Header]], labels: Labels, backend: str) -> list[Colored]:
    """Check the pixel values of up to 1000 label maps, spread evenly over all of them.

    Args:
        where (str): Name of the data loader, for messages.
        maps (Sequence[tuple[Path, Header]]): The label maps.
        labels (Labels): How labels are made of their values.
        backend (str): The ``imdecode_backend`` that decodes them.

    Returns:
        list[Colored]: Those that have palettes.

    Raises:
        ValueError: If label maps are in color or lossy, hold values that belong
            to no class, or hold only ignored values.
    """
    read = spread(maps, SAMPLE)
    of = f'of the {len(read)} label maps read'
    if len(read) < len(maps):
        note(where, f'checked the values of {len(read)} of the {len(maps)} label maps')
    stop(where, [path for path, header in read if header.is_jpeg], f'{of} are JPEG files, which blur labels', 'use PNG')
    paths = [path for path, _ in read]
    with ThreadPoolExecutor() as pool:
        values, palettes = zip(*pool.map(lambda path: read_values(path, backend), paths))
    colored = [path for path, found in zip(paths, values) if not found]
    palette = '' if backend == 'pillow' else f' (imdecode_backend={backend!r} makes colors of palettes, unlike pillow)'
    stop(where, colored, f'{of} are in color', f'store one number per pixel, that of its class{palette}')
    check_labels(where, paths, values, labels, of)
    warn_of_one_map(where, maps, dict(zip(paths, values)), labels)
    every = set().union(*values)
    is_all = where.startswith('train') and len(read) == len(maps)
    if is_all and labels.reduced and 0 in every and labels.number not in every:
        last = [f'label {labels.number}, that of the last class, while 0 occurs']
        warn(where, last, 'label is in no label map: if 0 is a class too, set reduce_zero_label=False')
    lacking = sorted(set(range(labels.number or 0)) - labels.used(every) - {labels.ignored})
    if is_all and len(read) >= ENOUGH * (labels.number or 0):
        warn(where, [f'label {label}' for label in lacking], f'classes are in none of the {len(read)} label maps')
    return [make_colored(where, *one) for one in zip(paths, palettes, values) if one[1]]


def warn_of_one_map(
    where: str, maps: Sequence[tuple[Path, Header]], values: Mapping[Path, list[int]], labels: Labels
) -> None:
    """Warn if most label maps are copies of the same one, unless it is of one class, as those of empty images.

    Args:
        where (str): Name of the data loader, for messages.
        maps (Sequence[tuple[Path, Header]]): All label maps.
        values (Mapping[Path, list[int]]): The values that occur in those read.
        labels (Labels): How labels are made of them.
    """
    ((fingerprint, _),) = Counter(header.fingerprint for _, header in maps).most_common(1)
    copies = [path for path, header in maps if header.fingerprint == fingerprint]
    mixed = any(len(labels.used(values.get(path, []))) > 1 for path in copies)
    if fingerprint and mixed and len(maps) >= FEW and 2 * len(copies) > len(maps):
        warn(where, copies, f'of {len(maps)} label maps have the same content')


def check_labels(where: str, paths: Sequence[Path], values: Sequence[list[int]], labels: Labels, of: str) -> None:
    """Check that all values belong to classes and that some are not ignored.

    Args:
        where (str): Name of the data loader, for messages.
        paths (Sequence[Path]): The label maps.
        values (Sequence[list[int]]): The values that occur in each.
        labels (Labels): How labels are made of them.
        of (str): Which label maps these are, for messages.

    Raises:
        ValueError: If values belong to no class, or all are ignored.
    """
    high = [describe(path, found) for path, found in zip(paths, values) if found[-1] > 255 or found[0] < 0]
    stop(where, high, f'{of} hold values beyond 0 to 255, which are cut to 8 bits', 'store labels from 0 to 255')
    every = set().union(*values)
    foreign = [describe(path, found) for path, v in zip(paths, values) if (found := labels.foreign(v))]
    advice = 'correct the label maps or the classes'
    if any(path.name.endswith('_labelIds.png') for path in paths):
        advice = "Cityscapes' labels for training are in the files *_labelTrainIds.png"
    elif not labels.reduced and 0 not in every and max(every - {255}, default=0) == labels.number:
        advice = 'if they count from 1, set reduce_zero_label=True'
    if foreign:
        stop(where, foreign, f'{of} hold values of no class', f'{labels.allowed()}; {advice}')
    used = [labels.used(found) for found in values]
    ignored = [describe(path, found) for path, found, kept in zip(paths, values, used) if not kept]
    if len(ignored) == len(paths):
        stop(where, ignored, f'{of} hold only values that are ignored', advice)
    warn(where, ignored, f'{of} hold only values that are ignored')
    if every == {0, 255} and labels.number != 1:
        stop(where, paths, f'{of} hold only 0 and 255, and 255 is ignored', 'if it is the foreground, store it as 1')
    if len(paths) >= FEW and not labels.reduced and 0 not in {labels.ignored, *set().union(*used)}:
        what = f'label is in none of the {len(paths)} label maps read: if they count from 1, set reduce_zero_label=True'
        warn(where, [f'label 0 {labels.first}'.strip()], what)
    lengths = {len(kept) for kept in used}
    if len(used) >= MANY and len(lengths) >= NUMBERS and all(kept == set(range(len(kept))) for kept in used):
        warn(where, paths, f'{of} hold the labels from 0 on without a gap, as if they numbered objects, not classes')
    if len(set().union(*used)) == 1 and labels.number != 1:
        warn(where, paths, f'{of} hold only one and the same class')


def read_values(path: Path, backend: str) -> tuple[list[int], list[Color]]:
    """List the values that occur in a label map, from low to high, and its palette, if it has one.

    Args:
        path (Path): The label map.
        backend (str): What decodes it.

    Returns:
        tuple[list[int], list[Color]]: The values, none for a map in color,
        and the color of each value.
    """
    content = path.read_bytes()
    pixels = mmcv.imfrombytes(content, flag='unchanged', backend=backend).squeeze()
    if pixels.ndim != 2:
        return [], []
    if pixels.dtype == np.uint8:
        values = np.flatnonzero(np.bincount(pixels.ravel())).tolist()  # several times as fast as np.unique
        return values, read_palette(content)
    return np.unique(pixels).astype(int).tolist(), []


def describe(path: Path, values: Sequence[int]) -> str:
    """Name a label map and a few of the values in it."""
    return f'{path} ({", ".join(map(str, values[:8]))}{", ..." if len(values) > 8 else ""})'
