"""Extents of objects' polygons in COCO's format."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

from .coco_file import Annotations

#: How many objects' polygons are in memory as arrays at once.
CHUNK = 50_000


class Polygons(NamedTuple):
    """Extents of the polygons of each object, NaN where an object has none that can be measured.

    Attributes:
        bounds (np.ndarray): Box ``[x, y, w, h]`` around all of them, (m, 4).
        area (np.ndarray): Area of the largest, (m,).
    """

    bounds: np.ndarray
    area: np.ndarray


def measure_polygons(annotations: Annotations, chosen: np.ndarray) -> Polygons:
    """Measure the polygons of the chosen objects that have at least three points.

    Args:
        annotations (Annotations): The annotations.
        chosen (np.ndarray): Whether an object is to be measured, (m,).

    Returns:
        Polygons: Their extents.
    """
    polygons = Polygons(np.full((len(chosen), 4), np.nan), np.full(len(chosen), np.nan))
    positions = np.flatnonzero(chosen).tolist()
    for begin in range(0, len(positions), CHUNK):
        measure(annotations.objects, positions[begin : begin + CHUNK], polygons)
    return polygons


def measure(objects: Sequence[dict], positions: Sequence[int], polygons: Polygons) -> None:
    """Measure the polygons of the objects at some positions.

    Args:
        objects (Sequence[dict]): All objects.
        positions (Sequence[int]): The positions.
        polygons (Polygons): Where to write the result.
    """
    parts: list[list[float]] = []
    owners: list[int] = []
    firsts: list[int] = []  # of the parts of each owner
    for position in positions:
        masks = objects[position].get('segmentation')
        usable = [part for part in masks if is_usable(part)] if isinstance(masks, list) else []
        if usable:
            owners.append(position)
            firsts.append(len(parts))
            parts += usable
    if not parts:
        return
    try:
        x, y = np.fromiter(chain.from_iterable(parts), float).reshape(-1, 2).T
    except (TypeError, ValueError):  # some are not of numbers
        for position in positions if len(positions) > 1 else ():
            measure(objects, [position], polygons)
        return
    lengths = np.array([len(part) // 2 for part in parts])
    ends = lengths.cumsum()
    begins = ends - lengths
    following = np.arange(1, len(x) + 1)  # the next point of each
    following[ends - 1] = begins
    areas = abs(np.add.reduceat(x * y[following] - x[following] * y, begins)) / 2
    (left, top), (right, bottom) = (
        [ufunc.reduceat(values, begins[firsts]) for values in (x, y)] for ufunc in (np.minimum, np.maximum)
    )
    polygons.bounds[owners] = np.stack([left, top, right - left, bottom - top], axis=1)
    polygons.area[owners] = np.maximum.reduceat(areas, firsts)


def is_usable(part: object) -> bool:
    """Tell whether a part of a mask is a polygon of at least three points."""
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0 and isinstance(part[0], (int, float))
