"""Boxes in COCO's format, against their image, their polygons, their area and one another."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from .coco_file import Annotations
from .coco_polygons import Polygons
from .coco_runs import measure_runs
from .image_files import spread
from .messages import stop, stop_if_many, warn

#: Ways to write a box that are not COCO's, each with the box ``x, y, width, height`` that its four numbers mean.
FORMS = {
    '[x1, y1, x2, y2]': lambda a, b, c, d: (a, b, c - a, d - b),
    '[y, x, height, width]': lambda a, b, c, d: (b, a, d, c),
    '[y1, x1, y2, x2]': lambda a, b, c, d: (b, a, d - b, c - a),
    '[center x, center y, width, height]': lambda a, b, c, d: (a - c / 2, b - d / 2, c, d),
}
#: How few boxes may fit another form by chance.
FEW = 5
#: How many masks of run lengths are decoded.
RUNS = 1000
#: Pixels by which edges of equal boxes may differ, because of rounding and of whether the last pixel counts.
TOLERANCE = 2


def check_boxes(
    annotations: Annotations, chosen: np.ndarray, polygons: Polygons, with_masks: bool, path: Path, where: str
) -> None:
    """Check that boxes are not listed twice, and that polygons and areas are those of their boxes.

    Args:
        annotations (Annotations): The annotations.
        chosen (np.ndarray): Whether an object is learned from or evaluated,
            (m,).
        polygons (Polygons): Extents of their polygons.
        with_masks (bool): Whether masks are loaded.
        path (Path): The annotation file.
        where (str): Name of the data loader, for messages.

    Raises:
        ValueError: If many boxes are listed twice, or most polygons are
            elsewhere than their boxes.
    """
    box, area, describe = annotations.box, annotations.area, annotations.describe
    again, number = find_repeated(annotations, chosen), chosen.sum()
    what = f'of {number} objects of {path} are listed again, with the same image, category and box'
    stop_if_many(where, describe(again), number / 4, what, 'list each object once')

    bounds, areas = polygons.bounds.copy(), polygons.area.copy()
    others = np.flatnonzero(chosen & np.isnan(areas)).tolist()
    runs = [position for position in others if isinstance(annotations.objects[position].get('segmentation'), dict)]
    for position in spread(runs, RUNS):
        with suppress(ArithmeticError, LookupError, TypeError, ValueError):  # another check names what is malformed
            bounds[position], areas[position] = measure_runs(annotations.objects[position]['segmentation'])
    apart = chosen & (areas > 0) & (differ(box, bounds) > TOLERANCE) & (overlap(box, bounds) < 0.5)
    number = (areas[chosen] > 0).sum()
    what = f'of {number} boxes of {path} are elsewhere than their masks'
    most = number / 2 if with_masks else number
    stop_if_many(where, describe(apart), most, what, 'give each object its own mask, with x before y, in pixels')

    flat = chosen & (polygons.area == 0) & with_masks
    warn(where, describe(flat), 'objects have polygons without an area: their masks are empty')
    large = chosen & (area > 1.1 * (box[:, 2:] + TOLERANCE).prod(axis=1))
    warn(where, describe(large), 'objects have a larger area than their box: results by size will be wrong')
    small = chosen & (20 * area < np.where(polygons.area > 0, polygons.area, box[:, 2:].prod(axis=1)))
    if 2 * small.sum() > chosen.sum():
        warn(where, describe(small), 'objects have less than a 20th of the area that they cover: is it in pixels?')


def check_form(annotations: Annotations, chosen: np.ndarray, polygons: Polygons, path: Path, where: str) -> None:
    """Check that boxes are not in another form, as far as their images, polygons and areas tell.

    Args:
        annotations (Annotations): The annotations.
        chosen (np.ndarray): Whether an object is considered, (m,).
        polygons (Polygons): Extents of their polygons.
        path (Path): The annotation file.
        where (str): Name of the data loader, for messages.

    Raises:
        ValueError: If they are.
    """
    if not chosen.any():
        return
    box, area, bounds = annotations.box, annotations.area, polygons.bounds
    size = annotations.sizes[annotations.image]
    # by so much that they are not just drawn generously
    beyond = chosen & (box[:, :2] + box[:, 2:] > 1.1 * size).any(axis=1)
    has_polygons = chosen & np.isfinite(polygons.area)
    apart = np.flatnonzero(has_polygons & (differ(box, bounds) > TOLERANCE))
    others = chosen & ~has_polygons
    for form, convert in FORMS.items():
        meant = np.stack(convert(*box.T), axis=1)
        by_polygons = np.zeros(len(chosen), dtype=bool)
        by_polygons[apart] = differ(meant[apart], bounds[apart]) <= TOLERANCE
        proper = (meant[:, 2:] > 0).all(axis=1)
        inside = proper & ((meant[:, :2] >= -1) & (meant[:, :2] + meant[:, 2:] <= size + 1)).all(axis=1)
        for tells, among, what in (
            (beyond & inside, chosen & (inside.mean(where=chosen) > 0.99), 'image'),
            (by_polygons, has_polygons, 'polygons'),
            (others & proper & ~covers(box, area) & covers(meant, area), others, 'area'),
        ):
            if tells.sum() >= FEW and 10 * tells.sum() > among.sum() > 0:
                stop(
                    where,
                    annotations.describe(tells),
                    f'of {among.sum()} boxes of {path} fit their {what} only as {form}',
                    'write boxes as [x, y, width, height] in pixels, and polygons as [[x1, y1, x2, y2, ...], ...]',
                )


def differ(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return how far the edges of boxes ``[x, y, w, h]`` are apart at most, (m,); NaN if an edge is."""
    offset = other - box
    return abs(np.concatenate([offset[:, :2], offset[:, :2] + offset[:, 2:]], axis=1)).max(axis=1)


def overlap(box: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the intersection over union of boxes ``[x, y, w, h]``, (m,)."""
    ends = np.minimum(box[:, :2] + box[:, 2:], other[:, :2] + other[:, 2:])
    common = np.maximum(ends - np.maximum(box[:, :2], other[:, :2]), 0).prod(axis=1)
    union = box[:, 2:].prod(axis=1) + other[:, 2:].prod(axis=1) - common
    return common / np.maximum(union, 1e-6)


def covers(box: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Tell whether areas are those of the whole boxes ``[x, y, w, h]``, (m,)."""
    return abs(box[:, 2:].prod(axis=1) - area) <= 0.01 * area + 1


def find_repeated(annotations: Annotations, chosen: np.ndarray) -> np.ndarray:
    """Tell which of the chosen objects have the image, category and box of an earlier one, (m,)."""
    positions = np.flatnonzero(chosen)
    keys = [*annotations.box[positions].T, annotations.category[positions], annotations.image[positions]]
    order = np.lexsort(keys)
    same = np.logical_and.reduce([np.diff(key[order]) == 0 for key in keys])
    repeated = np.zeros(len(chosen), dtype=bool)
    repeated[positions[order[1:][same]]] = True
    return repeated
