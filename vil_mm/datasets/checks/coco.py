"""Annotation files in COCO's format, for detection."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.registry import DATASETS

from .image_files import check_image_files
from .messages import some, warn


class Image(NamedTuple):
    """An image, with its size in pixels."""

    name: str
    width: float
    height: float


class Object(NamedTuple):
    """An object in an image; its box is ``[x, y, w, h]`` in pixels."""

    number: int
    category: int
    area: float
    box: list[float]


class Annotations(NamedTuple):
    """What an annotation file holds, by the numbers of images and categories; without objects to be ignored."""

    images: dict[int, Image]
    categories: dict[int, str]
    objects: dict[int, list[Object]]


def check_coco(dataset: dict, loader: str) -> None:
    """Check the images and annotations of a dataset, and warn of what the libraries will leave out.

    Args:
        dataset (dict): Config of the dataset.
        loader (str): Name of the data loader, for messages.

    Raises:
        FileNotFoundError: If the annotation file or images are missing.
        ValueError: If the annotation file is not in COCO's format, images are
            damaged, or no category is among the classes.
    """
    root = dataset.get('data_root') or ''
    path = Path(root, dataset.get('ann_file') or '')
    if not path.is_file():
        raise FileNotFoundError(f'{loader}: there is no annotation file {path}')
    annotations = read_annotations(path, loader)
    folder = Path(root, (dataset.get('data_prefix') or {}).get('img', ''))
    check_image_files((folder / image.name for image in annotations.images.values()), loader, 'images')
    classes = (dataset.get('metainfo') or {}).get('classes') or DATASETS.get('mmdet.CocoDataset').METAINFO['classes']
    if isinstance(classes, str):  # a file of names
        classes = list(annotations.categories.values())
    check_classes(annotations, classes, path, loader)
    check_objects(annotations, classes, {} if dataset.get('test_mode') else dataset.get('filter_cfg') or {}, loader)


def read_annotations(path: Path, loader: str) -> Annotations:
    """Read an annotation file.

    Args:
        path (Path): The file.
        loader (str): Name of the data loader, for messages.

    Returns:
        Annotations: What it holds.

    Raises:
        ValueError: If it is not in COCO's format, or lists no images.
    """
    objects = defaultdict(list)
    try:
        content = json.loads(path.read_text())
        images = {
            image['id']: Image(image['file_name'], image['width'], image['height']) for image in content['images']
        }
        categories = {category['id']: category['name'] for category in content.get('categories', [])}
        for annotation in content.get('annotations', []):  # lists of test images have none
            if not annotation.get('ignore'):
                x, y, w, h = (+value for value in annotation['bbox'])  # + fails for what is not a number
                objects[annotation['image_id']].append(
                    Object(annotation['id'], annotation['category_id'], +annotation['area'], [x, y, w, h])
                )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{loader}: {path} is not in COCO's format: {error!r}") from error
    if not images:
        raise ValueError(f'{loader}: {path} lists no images')
    return Annotations(images, categories, objects)


def check_classes(annotations: Annotations, classes: Sequence[str], path: Path, loader: str) -> None:
    """Check that the dataset's classes are among the categories, and warn of those that are not.

    Raises:
        ValueError: If none is.
    """
    names = list(annotations.categories.values())
    absent = [name for name in classes if name not in names]
    if names and len(absent) == len(classes):
        raise ValueError(
            f'{loader}: none of the categories of {path}, {some(names)}, is among the classes of the dataset, '
            f'{some(classes)}: set its metainfo=dict(classes=...)'
        )
    warn(loader, absent, 'classes have no category of that name')


def check_objects(annotations: Annotations, classes: Sequence[str], filters: dict, loader: str) -> None:
    """Warn of the objects and images that the libraries will leave out, or treat differently in evaluation.

    Args:
        annotations (Annotations): The annotations.
        classes (Sequence[str]): The dataset's classes.
        filters (dict): The ``filter_cfg`` of the dataset.
        loader (str): Name of the data loader, for messages.
    """
    foreign, outside, beyond, empty, small = [], [], [], [], []
    for number, (name, width, height) in annotations.images.items():
        known = 0
        for annotation, category, area, box in annotations.objects[number]:
            (x, y, w, h), what = box, f'annotation {annotation} of {name}: {box}'
            if annotations.categories.get(category) not in classes:
                foreign.append(what)
                continue
            known += 1
            if area <= 0 or w < 1 or h < 1 or min(x + w, width) <= max(x, 0) or min(y + h, height) <= max(y, 0):
                outside.append(what)
            elif x < 0 or y < 0 or x + w > width + 1 or y + h > height + 1:
                beyond.append(what)
        if filters.get('filter_empty_gt') and not known:
            empty.append(name)
        if min(width, height) < filters.get('min_size', 0):
            small.append(name)
    warn(loader, foreign, 'boxes have a category that is none of the classes: they are left out')
    warn(loader, outside, 'boxes lie outside of their image or are smaller than a pixel: they are left out')
    warn(loader, beyond, 'boxes reach beyond their image: resizing clips them, the evaluation does not')
    warn(loader, empty, 'images have no objects: training leaves them out')
    warn(loader, small, f'images are smaller than {filters.get("min_size")} pixels: training leaves them out')
