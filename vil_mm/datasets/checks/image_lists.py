"""Lists of images and their labels."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file

from .configured import repeats
from .messages import stop, warn


def read_list(listing: BaseDataset, where: str, number: int | None) -> list[tuple[str, int]]:
    """Read a list of images.

    Args:
        listing (BaseDataset): The dataset.
        where (str): Name of the data loader, for messages.
        number (int, optional): Number of classes, if the config tells.

    Returns:
        list[tuple[str, int]]: The images and their labels, which are 0 if the
        dataset has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not as it must be, or a label of no class.
    """
    path = Path(listing.ann_file)
    if not path.is_file():
        raise FileNotFoundError(f'{where}: there is no list of images {path}')
    samples = []
    for place, line in enumerate(list_from_file(path), start=1):
        name, _, label = line.strip().rpartition(' ') if listing.with_label else (line, '', '0')
        try:
            index = int(label)
        except ValueError:
            name = ''
        if not name:
            form = 'the name of an image, a space and the number of its class' if listing.with_label else 'a name'
            raise ValueError(f'{where}: {path}, line {place}: {line!r} must be {form}')
        if index < 0 or (number and index >= number):
            last = f' to {number - 1}, for {number} classes' if number else ' or more'
            raise ValueError(f'{where}: {path}, line {place}: {line!r} has class {index}, must be 0{last}')
        samples.append((name, index))
    return samples


def check_samples(samples: Sequence[tuple[str, int]], path: Path, where: str) -> None:
    """Check that no image has two labels, and warn of those that come twice or seem to have the label of another class.

    Args:
        samples (Sequence[tuple[str, int]]): Images and their labels.
        path (Path): The list of them.
        where (str): Name of the data loader, for messages.

    Raises:
        ValueError: If an image has two labels.
    """
    known: dict[str, int] = {}
    unlike = []
    for name, label in samples:
        first = known.setdefault(name, label)
        if first != label:
            unlike.append(f'{name} ({first} and {label})')
    stop(where, unlike, f'images have two labels in {path}', 'keep the right one')
    warn(where, repeats(name for name, _ in samples), f'images are listed in {path} again, and count more than once')
    warn_of_odd(samples, path, where)


def warn_of_odd(samples: Sequence[tuple[str, int]], path: Path, where: str) -> None:
    """Warn of images whose label is not that of most in their folder, if each label is that of most in one folder.

    Args:
        samples (Sequence[tuple[str, int]]): Images and their labels.
        path (Path): The list of them.
        where (str): Name of the data loader, for messages.
    """
    counts: defaultdict[str, Counter] = defaultdict(Counter)
    for name, label in samples:
        counts[os.path.dirname(name)][label] += 1
    usual = {folder: count.most_common(1)[0][0] for folder, count in counts.items()}
    odd = [
        f'{name} ({label}, not {usual[os.path.dirname(name)]})'
        for name, label in samples
        if label != usual[os.path.dirname(name)]
    ]
    labels = {label for _, label in samples}
    mostly = all(2 * max(count.values()) > count.total() for count in counts.values())
    if mostly and len(usual) == len(labels) == len(set(usual.values())) and 5 * len(odd) <= len(samples):
        warn(where, odd, f'images have another label in {path} than the other images of their folder')


def find_labels(samples: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Find the labels of folders, if each holds all images of one class, else none.

    Args:
        samples (Sequence[tuple[str, int]]): Images and their labels.
    """
    labels: dict[str, int] = {}
    for name, label in samples:
        folder, separator, _ = name.partition('/')
        if not separator or labels.setdefault(folder, label) != label:
            return {}
    return labels if len(set(labels.values())) == len(labels) else {}
