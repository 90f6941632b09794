"""Images that come more than once, by their path or by their content."""

import filecmp
import os
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from .messages import warn

#: How many images of the same content seem not to be there on purpose: at least, and in proportion to all.
MANY, PLACEHOLDERS = 10, 0.05


class Image(NamedTuple):
    """An image that was checked.

    Args:
        path (str): Its file, or where it is in a zip file.
        fingerprint (int): The same number for images of the same content, and
            hardly ever for others. 0 if unknown.
        owner (Hashable): What it belongs to: a class, or a data loader.
    """

    path: str
    fingerprint: int
    owner: Hashable


def warn_of_shared(loader: str, images: Iterable[str], loaders: dict[str, str]) -> None:
    """Warn of images that another data loader has too, and note whose the others are.

    Args:
        loader (str): Name of the data loader.
        images (Iterable[str]): Its images.
        loaders (dict[str, str]): The data loaders of images so far, to which
            these are added.
    """
    shared = [path for path in images if loaders.setdefault(path, loader) != loader]
    warn(loader, shared, 'images are those of another data loader too, and say nothing about unseen ones')


def warn_of_copies(loader: str, images: Sequence[tuple[str, int]], known: dict[int, Image]) -> None:
    """Warn of images whose content is that of many others, or of one of another data loader, under another name.

    Args:
        loader (str): Name of the data loader.
        images (Sequence[tuple[str, int]]): Paths and fingerprints of images.
        known (dict[int, Image]): An image of each fingerprint so far, to which
            these are added.
    """
    copies = find_copies([Image(*one, loader) for one in images], known)
    warn(loader, copies, 'images are copies of those of another data loader, and say nothing about unseen ones')
    for fingerprint, count in Counter(one for _, one in images if one).most_common(1):
        if count >= MANY and count > PLACEHOLDERS * len(images):
            same = [path for path, other in images if other == fingerprint]
            warn(loader, same, 'images have the same content, as if one stood for those that could not be downloaded')


def find_copies(images: Iterable[Image], known: dict[int, Image]) -> list[str]:
    """List the images whose content is that of an earlier one that belongs to something else.

    Args:
        images (Iterable[Image]): The images.
        known (dict[int, Image]): An image of each fingerprint so far, to which
            these are added.
    """
    copies = []
    for image in images:
        first = known.setdefault(image.fingerprint, image)
        if image.fingerprint and first.owner != image.owner and is_copy(image.path, first.path):
            copies.append(f'{image.path} is {first.path}')
    return copies


def is_copy(path: str, other: str) -> bool:
    """Tell whether two files of the same fingerprint have the same content; within zip files, it tells."""
    return path != other and (not os.path.isfile(path) or filecmp.cmp(path, other, shallow=False))
