"""Annotation files in COCO's format, for detection."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .configured import repeats
from .messages import stop

#: What an annotation file must have, by its lists, except for the boxes and areas of ignored objects.
KEYS = {
    'images': ('id', 'file_name', 'width', 'height'),
    'categories': ('id', 'name'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
}
SINGULAR = {'images': 'image', 'categories': 'category', 'annotations': 'annotation'}


@dataclass(frozen=True)
class Annotations:
    """What an annotation file holds, in the file's order.

    Args:
        images (dict): Positions of the images, by their numbers.
        names (list[str]): File names of the images.
        sizes (np.ndarray): Sizes of the images, (n, 2): width, height.
        category_ids (list): Numbers of the categories.
        categories (list[str]): Names of the categories.
        objects (list[dict]): The annotations as they are in the file.
        image (np.ndarray): Position of each object's image, (m,), or -1.
        category (np.ndarray): Position of each object's category, (m,).
        box (np.ndarray): Boxes ``[x, y, w, h]`` in pixels, (m, 4).
        area (np.ndarray): Areas of the objects, (m,).
        ignore (np.ndarray): Whether an object is to be ignored, (m,). Its box,
            which it need not have, is all zeros.
        crowd (np.ndarray): Whether an object is a crowd, (m,).
    """

    images: dict
    names: list[str]
    sizes: np.ndarray
    category_ids: list
    categories: list[str]
    objects: list[dict]
    image: np.ndarray
    category: np.ndarray
    box: np.ndarray
    area: np.ndarray
    ignore: np.ndarray
    crowd: np.ndarray

    def is_among(self, classes: Iterable[str]) -> np.ndarray:
        """Tell which objects are of the classes, (m,)."""
        wanted = set(classes)
        return np.array([name in wanted for name in self.categories], dtype=bool)[self.category]

    def describe(self, chosen: np.ndarray) -> Sequence[str]:
        """Describe objects, for messages, given whether each is meant, (m,)."""
        return Descriptions(self, np.flatnonzero(chosen))


class Descriptions(Sequence):
    """Descriptions of objects, each made when it is asked for."""

    def __init__(self, annotations: Annotations, positions: np.ndarray) -> None:
        self.annotations, self.positions = annotations, positions

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = self.positions[index]
        annotation, image = self.annotations.objects[position], self.annotations.image[position]
        name = self.annotations.names[image] if image >= 0 else f'image {annotation["image_id"]!r}'
        return f'annotation {annotation["id"]} of {name}: {annotation.get("bbox")}'


def read_annotations(path: Path, where: str, with_objects: bool = True) -> Annotations:
    """Read an annotation file.

    Args:
        path (Path): The file.
        where (str): Name of the data loader or evaluator, for messages.
        with_objects (bool): Whether to read the objects too. Defaults to True.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not in COCO's format, lists no images, has several
            images, categories or annotations of one number, or annotations of a
            category that it does not list.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{where}: there is no annotation file {path}')
    try:
        content = json.loads(path.read_text())
        annotations, repeated = parse(content if with_objects else {**content, 'annotations': []})
    except KeyError as error:
        raise ValueError(f"{where}: {path} is not in COCO's format: {find_lacking(content, error.args[0])}") from error
    except (AttributeError, IndexError, ValueError, TypeError) as error:
        raise ValueError(f"{where}: {path} is not in COCO's format: {type(error).__name__}: {error}") from error
    if not annotations.images:
        raise ValueError(f'{where}: {path} lists no images')
    for kind, twice in repeated.items():
        stop(where, twice, f'ids are those of several {kind} in {path}', 'number them anew')
    unlisted = annotations.describe(annotations.category < 0)
    what = f'annotations have a category_id that is not among the categories of {path}'
    stop(where, unlisted, what, 'add the categories, or correct the ids')
    return annotations


def parse(content: Mapping) -> tuple[Annotations, dict[str, list]]:
    """Parse the content of an annotation file; also list the ids that are used more than once, by what they number."""
    # lists of test images have no annotations
    images, categories, objects = content['images'], content.get('categories', []), content.get('annotations', [])
    index = {image['id']: position for position, image in enumerate(images)}
    positions = {category['id']: position for position, category in enumerate(categories)}
    ignore = np.array([bool(one.get('ignore')) for one in objects], dtype=bool)
    considered = [{'bbox': (0, 0, 0, 0), 'area': 0} if one.get('ignore') else one for one in objects]
    repeated = {
        'images': repeats(image['id'] for image in images),
        'categories': repeats(category['id'] for category in categories),
        'annotations': repeats(one['id'] for one in objects),
    }
    annotations = Annotations(
        index,
        [check_name(image['file_name']) for image in images],
        numbers([(image['width'], image['height']) for image in images], 2),
        list(positions),
        [category['name'] for category in categories],
        objects,
        np.array([index.get(one['image_id'], -1) for one in objects], dtype=int),
        np.array([positions.get(one['category_id'], -1) for one in objects], dtype=int),
        numbers([one['bbox'] for one in considered], 4),
        numbers([(one['area'],) for one in considered], 1)[:, 0],
        ignore,
        np.array([bool(one.get('iscrowd')) for one in objects], dtype=bool),
    )
    return annotations, repeated


def find_lacking(content: Mapping, key: object) -> str:
    """Name the first part of an annotation file that lacks a key."""
    for kind, keys in KEYS.items():
        for position, one in enumerate(content.get(kind, ())):
            if key in keys and key not in one and not (key in ('bbox', 'area') and one.get('ignore')):
                name = f'{SINGULAR[kind]} {one["id"]}' if 'id' in one else f'{kind}[{position}]'
                return f'{name} has no {key!r}'
    return f'it has no {key!r}'


def numbers(rows: list, width: int) -> np.ndarray:
    """Make an array of rows of finite numbers.

    Raises:
        ValueError: If they are not.
    """
    array = np.array(rows).reshape(len(rows), width)
    if rows and (array.dtype.kind not in 'iuf' or not np.isfinite(array).all()):
        bad = next(row for row in rows if not (np.array(row).dtype.kind in 'iuf' and np.isfinite(row).all()))
        raise ValueError(f'{bad} must be {width} finite numbers')
    return array.astype(float)


def check_name(name: object) -> str:
    """Return the name of a file if it is a string."""
    if not isinstance(name, str):
        raise TypeError(f'file_name={name!r} must be a string')
    return name
