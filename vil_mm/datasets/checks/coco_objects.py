"""Objects in a dataset: those that stop a training, and those that mmdet leaves out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...registry import nested_dicts
from .coco_boxes import check_boxes, check_form
from .coco_file import Annotations
from .coco_masks import check_masks
from .coco_polygons import measure_polygons
from .configured import Configured, repeats
from .messages import some, stop, warn


def check_objects(annotations: Annotations, classes: Sequence[str], dataset: Configured, path: Path) -> None:
    """Check that there are objects, and their masks, and warn of what is left out or evaluated differently.

    Args:
        annotations (Annotations): The annotations.
        classes (Sequence[str]): The dataset's classes.
        dataset (Configured): The dataset.
        path (Path): The annotation file.

    Raises:
        ValueError: If boxes seem to be in another form, masks would stop the
            run, or nothing is left to train on.
    """
    config, where, image = dataset.config, dataset.where, annotations.image
    if len(image) and (image < 0).all():
        raise ValueError(
            f'{where}: none of the annotations of {path} is of an image that it lists, '
            f'{some(annotations.describe(image < 0))}: let image_id be the id of an image, of the same type'
        )
    of_class = annotations.is_among(classes) & (image >= 0)
    width, height = annotations.sizes[image].T
    x, y, w, h = annotations.box.T
    foreign, considered = ((image >= 0) & ~of_class & ~annotations.ignore), of_class & ~annotations.ignore
    inside = (np.minimum(x + w, width) > np.maximum(x, 0)) & (np.minimum(y + h, height) > np.maximum(y, 0))
    sized = considered & (annotations.area > 0) & (w >= 1) & (h >= 1)
    kept = sized & inside
    beyond = kept & ((x < 0) | (y < 0) | (x + w > width + 1) | (y + h > height + 1))
    if considered.any() and annotations.box[considered].max() <= 1:
        stop(
            where,
            annotations.describe(considered),
            f'boxes of {path} are within the first pixel, as fractions of the width and height would be',
            'write them in pixels',
        )
    polygons = measure_polygons(annotations, sized)
    check_form(annotations, sized & ~annotations.crowd, polygons, path, where)
    for chosen, what in (
        (image < 0, 'annotations are of images that the file does not list: they are left out'),
        (foreign, 'boxes have a category that is none of the classes: they are left out'),
        (considered & ~(annotations.area > 0), 'objects have no area: they are left out'),
        (
            considered & (annotations.area > 0) & ~kept,
            'boxes lie outside of their image or are smaller than a pixel: they are left out',
        ),
        (beyond, 'boxes reach beyond their image: resizing clips them, the evaluation does not'),
    ):
        warn(where, annotations.describe(chosen), what)
    usable = kept & ~annotations.crowd
    passed = of_class & (annotations.crowd | annotations.ignore)
    if 2 * passed.sum() > of_class.sum():
        warn(where, annotations.describe(passed), 'objects have iscrowd=1 or ignore=1: no class is learned from them')
    with_masks = [step for step in nested_dicts(config.get('pipeline')) if step.get('with_mask')]
    for step in with_masks[:1]:
        usable &= check_masks(annotations, kept, polygons, step.get('poly2mask', True), path, where)
    check_boxes(annotations, usable, polygons, bool(with_masks), path, where)
    warn(where, repeats(annotations.names), 'images are listed more than once, each time with a part of the objects')
    if not config.get('test_mode'):
        check_images(annotations, of_class, usable, config.get('filter_cfg') or {}, path, where)


def check_images(
    annotations: Annotations, of_class: np.ndarray, usable: np.ndarray, filters: dict, path: Path, where: str
) -> None:
    """Check that images remain to train on, and warn of those that do not.

    Args:
        annotations (Annotations): The annotations.
        of_class (np.ndarray): Whether an object, used or not, is of the
            dataset's classes, (m,).
        usable (np.ndarray): Whether training learns from an object, (m,).
        filters (dict): The ``filter_cfg`` of the dataset.
        path (Path): The annotation file.
        where (str): Name of the data loader, for messages.

    Raises:
        ValueError: If none remains, or none of the objects.
    """
    names = np.array(annotations.names, dtype=object)
    objects, useful = (np.bincount(annotations.image[chosen], minlength=len(names)) for chosen in (of_class, usable))
    empty = (objects == 0) & bool(filters.get('filter_empty_gt'))
    small = annotations.sizes.min(axis=1) < filters.get('min_size', 0)
    if (empty | small).all() or (len(usable) and not usable.any()):
        raise ValueError(
            f'{where}: {path} has no image with an object to train on: its {len(usable)} annotations are of other '
            f'classes, crowds, or left out for their box, mask or size, and filter_cfg={dict(filters)}'
        )
    bare = (objects > 0) & (useful == 0) & ~small
    for chosen, what in (
        (empty, 'images have no objects: training leaves them out'),
        (small, f'images are smaller than {filters.get("min_size")} pixels: training leaves them out'),
        (bare, 'images have only crowds and objects that are left out: training learns no object from them'),
    ):
        warn(where, list(names[chosen]), what)
