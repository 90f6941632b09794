"""Masks of objects in COCO's format: polygons, or run lengths."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...registry import nested_dicts
from .coco_file import Annotations
from .coco_polygons import Polygons
from .configured import Configured
from .messages import stop, warn

ADVICE = {
    'missing': 'add it, or set with_mask=False',
    'malformed': 'write polygons, [[x1, y1, x2, y2, x3, y3, ...], ...], or run lengths, a dict with counts and size',
    'of another size than its image': 'correct the size, which is [height, width], and the run lengths',
}


def find_state(segmentation: object, width: float, height: float) -> str:
    """Tell whether a mask can be read.

    Args:
        segmentation (object): The mask, as it is in the file.
        width (float): Width of the image in pixels.
        height (float): Height of the image in pixels.

    Returns:
        str: A key of :const:`ADVICE`; or ``'polygons'``, ``'runs'``, or
        ``'degenerate'`` for what mmdet ignores.
    """
    if not segmentation:
        return 'missing'
    if isinstance(segmentation, list):
        if not all(isinstance(part, list) and isinstance(next(iter(part), 0), (int, float)) for part in segmentation):
            return 'malformed'
        return 'polygons' if any(len(part) >= 6 and len(part) % 2 == 0 for part in segmentation) else 'degenerate'
    if not isinstance(segmentation, dict):
        return 'malformed'
    counts, size = segmentation.get('counts'), segmentation.get('size')
    if not isinstance(counts, (list, str)) or size is None:
        return 'degenerate'
    numbers = [size, counts] if isinstance(counts, list) else [size]
    if not all(isinstance(part, list) and all(isinstance(one, (int, float)) for one in part) for part in numbers):
        return 'malformed'
    if size != [height, width] or (isinstance(counts, list) and sum(counts) != height * width):
        return 'of another size than its image'
    return 'runs'


def find_states(annotations: Annotations, chosen: np.ndarray) -> np.ndarray:
    """Tell, as :func:`find_state`, whether the masks of the chosen objects can be read, (m,); ``''`` for others."""
    states = np.full(len(chosen), '', dtype=object)
    sizes = annotations.sizes[annotations.image].tolist()
    for position in np.flatnonzero(chosen):
        states[position] = find_state(annotations.objects[position].get('segmentation'), *sizes[position])
    return states


def check_masks(
    annotations: Annotations, chosen: np.ndarray, polygons: Polygons, poly2mask: bool, path: Path, where: str
) -> np.ndarray:
    """Check that objects have masks, and warn of those that mmdet ignores.

    Args:
        annotations (Annotations): The annotations.
        chosen (np.ndarray): Whether an object is loaded, (m,).
        polygons (Polygons): Extents of their polygons.
        poly2mask (bool): Whether polygons are turned into bitmaps; if not, run
            lengths are ignored.
        path (Path): The annotation file.
        where (str): Name of the data loader, for messages.

    Returns:
        np.ndarray: Whether an object has a mask, (m,).

    Raises:
        ValueError: If a mask is missing, malformed or of another size.
    """
    measured = np.isfinite(polygons.area)
    states = find_states(annotations, chosen & ~measured)
    states[states == 'polygons'] = 'malformed'  # not of numbers, since they were not measured
    for state, advice in ADVICE.items():
        stop(
            where, annotations.describe(states == state), f"objects of {path}: their 'segmentation' is {state}", advice
        )
    degenerate = states == 'degenerate'
    warn(where, annotations.describe(degenerate), 'objects have no polygon of at least three points: they are left out')
    runs = (states == 'runs') & ~annotations.crowd & (not poly2mask)
    warn(where, annotations.describe(runs), 'objects have run lengths for a mask: poly2mask=False leaves them out')
    return ~degenerate & ~runs


def check_loads_masks(datasets: Sequence[Configured], model: dict) -> None:
    """Check that masks are loaded if a mask head is trained.

    Args:
        datasets (Sequence[Configured]): The datasets of the training.
        model (dict): Config of the model.

    Raises:
        ValueError: If they are not.
    """
    if not any(part.get('mask_head') for part in nested_dicts(model)):
        return
    for dataset in datasets:
        loading = [step for step in nested_dicts(dataset.config.get('pipeline')) if 'with_bbox' in step]
        if loading and not any(step.get('with_mask') for step in loading):
            raise ValueError(
                f'{dataset.where}: the model has a mask_head, but the pipeline loads no masks: '
                'set with_mask=True in LoadAnnotations'
            )
