"""Datasets and metrics that read annotation files in COCO's format, for detection."""

import gc
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ...registry import as_list, nested_dicts
from .class_lists import difference
from .coco_classes import check_classes
from .coco_evaluation import check_evaluated_images, check_evaluated_objects, check_makes_masks
from .coco_file import Annotations, read_annotations
from .coco_masks import check_loads_masks
from .coco_objects import check_objects
from .configured import Configured, find_metrics, is_remote
from .declared_classes import class_names
from .image_copies import Image, warn_of_copies, warn_of_shared
from .image_files import check_image_files
from .image_sizes import check_image_sizes
from .messages import warn

#: How many objects per class there must be on average to expect objects of each.
ENOUGH = 10


def check_coco(datasets: Sequence[Configured], cfg: Config) -> None:
    """Check the images and annotations of datasets, and those that their metrics compare predictions with.

    Warns of what the libraries will leave out.

    Args:
        datasets (Sequence[Configured]): The datasets of all data loaders, also
            those in other formats.
        cfg (Config): The config, which has the evaluators.

    Raises:
        FileNotFoundError: If annotation files or images are missing.
        ValueError: If an annotation file is not in COCO's format or stops the
            run, images are damaged or of another size than the file says,
            classes and categories differ, or a metric takes other images than
            its data loader.
    """
    classes = check_same_classes([dataset for dataset in datasets if dataset.derives_from('mmdet.CocoDataset')])
    loaders: dict[str, str] = {}  # of the images
    known: dict[int, Image] = {}
    for loader in dict.fromkeys(dataset.where for dataset in datasets):
        own = [dataset for dataset in datasets if dataset.where == loader]
        metrics = find_metrics(cfg, [loader.replace('dataloader', 'evaluator')]) if 'train' not in loader else []
        with no_garbage_collection():
            check_loader(own, metrics, classes, cfg, loaders, known)


def check_loader(
    datasets: Sequence[Configured],
    metrics: Sequence[Configured],
    classes: Sequence[str] | None,
    cfg: Config,
    loaders: dict[str, str],
    known: dict[int, Image],
) -> None:
    """Check the datasets of a data loader and the metrics of its evaluator; errors as of :func:`check_coco`.

    Args:
        datasets (Sequence[Configured]): The datasets, also those in other
            formats.
        metrics (Sequence[Configured]): The metrics, also others than COCO's.
        classes (Sequence[str], optional): The names of the classes.
        cfg (Config): The whole config.
        loaders (dict[str, str]): The data loaders of images so far, to which
            those of this one are added.
        known (dict[int, Image]): An image of each fingerprint so far, likewise.
    """
    read = {}
    counts: Counter[str] = Counter()  # of the objects of each class
    for dataset in filter(reads_coco, datasets):
        path, annotations, files = check_dataset(dataset, classes, cfg)
        if 'indices' not in dataset.config:
            warn_of_shared(dataset.where, files, loaders)
            warn_of_copies(dataset.where, list(files.items()), known)
        numbers = np.bincount(annotations.category, minlength=len(annotations.categories))
        counts.update(dict(zip(annotations.categories, numbers.tolist())))
        if metrics:  # the objects of a large training set take gigabytes
            read[path.resolve()] = annotations
    where, names = datasets[0].where, classes or list(counts)
    if where.startswith('train') and all(map(reads_coco, datasets)):
        check_loads_masks(datasets, cfg.get('model') or {})
    if where.startswith('train') and all(map(reads_coco, datasets)) and counts.total() >= ENOUGH * len(names):
        warn(where, [name for name in names if not counts[name]], 'classes have no object to learn from')
    for metric in metrics:
        if metric.derives_from('mmdet.CocoMetric') and not metric.derives_from('mmdet.LVISMetric'):
            check_metric(metric, datasets, read, classes, cfg)


def check_same_classes(datasets: Sequence[Configured]) -> list[str] | None:
    """Check that datasets have the same classes, and list them; None if only the datasets themselves know them.

    Raises:
        ValueError: If they differ.
    """
    named = [(dataset.where, names) for dataset in datasets if (names := class_names(dataset)) is not None]
    for where, names in named[1:]:
        if names != named[0][1]:
            raise ValueError(
                f'{where}: the classes differ from those of {named[0][0]}: {difference(names, named[0][1])}: '
                'set metainfo=dict(classes=...) to the same names, in the same order, in both'
            )
    return named[0][1] if named else None


def reads_coco(dataset: Configured) -> bool:
    """Tell whether a dataset reads local files, as mmdet's ``CocoDataset`` does."""
    if not dataset.derives_from('mmdet.CocoDataset') or is_remote(dataset.config):
        return False
    return dataset.kind.load_data_list is base_named(dataset.kind, 'CocoDataset').load_data_list


def base_named(kind: type, name: str) -> Any:
    """Return the class of a name from which a class derives."""
    return next(base for base in kind.__mro__ if base.__name__ == name)


def check_dataset(
    dataset: Configured, classes: Sequence[str] | None, cfg: Config
) -> tuple[Path, Annotations, dict[str, int]]:
    """Check the images and annotations of a dataset.

    Args:
        dataset (Configured): The dataset.
        classes (Sequence[str], optional): The names of its classes.
        cfg (Config): The whole config.

    Returns:
        tuple[Path, Annotations, dict[str, int]]: The annotation file, what it
        holds, and the image files with their fingerprints.

    Raises:
        FileNotFoundError: See :func:`check_coco`.
        ValueError: See :func:`check_coco`.
    """
    config, where = dataset.config, dataset.where
    root, file = config.get('data_root') or '', config.get('ann_file') or ''
    if not isinstance(file, str):
        raise ValueError(f'{where}: ann_file={file!r} must be one file: join several datasets by a ConcatDataset')
    path = Path(root, file)
    panoptic = dataset.derives_from('mmdet.CocoPanopticDataset')  # its objects are in other files
    annotations = read_annotations(path, where, with_objects=not panoptic)
    prefix = config.get('data_prefix') or {}
    if 'img' not in prefix:
        raise ValueError(f"{where}: data_prefix={dict(prefix)} must have the folder of the images as 'img'")
    folder = Path(root, prefix['img'])
    files = [folder / name for name in annotations.names]
    headers = check_image_files(files, where, 'images')
    if classes is not None:
        check_classes(annotations.categories, classes, path, where)
    check_image_sizes(files, headers, annotations.sizes, path, dataset, cfg)
    if not panoptic:
        check_objects(annotations, classes or annotations.categories, dataset, path)
    return path, annotations, {str(file): header.fingerprint for file, header in zip(files, headers)}


def check_metric(
    metric: Configured,
    datasets: Sequence[Configured],
    read: dict[Path, Annotations],
    classes: Sequence[str] | None,
    cfg: Config,
) -> None:
    """Check the annotations that a metric compares the predictions with.

    Args:
        metric (Configured): The metric.
        datasets (Sequence[Configured]): The datasets of its data loader.
        read (dict[Path, Annotations]): Their annotations, by the absolute paths
            of the files.
        classes (Sequence[str], optional): The names of the classes.
        cfg (Config): The whole config.

    Raises:
        FileNotFoundError: If its annotation file is missing.
        ValueError: See :func:`check_coco`.
    """
    config, where = metric.config, metric.where
    metrics = as_list(config.get('metric', 'bbox'))
    if not config.get('format_only'):
        check_makes_masks(metrics, cfg.get('model') or {}, where)
    if is_remote(config):
        return
    if not config.get('ann_file'):
        steps = [step for dataset in datasets for step in nested_dicts(dataset.config.get('pipeline'))]
        given = any('instances' in step.get('meta_keys', ()) for step in steps)
        if not given and metric.kind.process is base_named(metric.kind, 'CocoMetric').process:
            raise ValueError(
                f"{where}: without ann_file, {metric.kind.__name__} compares with the objects in the images' "
                "meta information, where they are not: set ann_file, or add 'instances' to meta_keys in the pipeline"
            )
        return
    path = Path(config['ann_file'])
    same = read.get(path.resolve())
    annotations = same or read_annotations(path, where)
    categories = annotations.categories
    if config.get('sort_categories'):
        categories = [name for _, name in sorted(zip(annotations.category_ids, categories))]
    if classes is not None:
        check_classes(categories, classes, path, where)
    if not config.get('format_only'):
        check_evaluated_objects(annotations, classes or categories, metrics, path, where)
    if all(map(reads_coco, datasets)):
        check_evaluated_images(annotations, list(read.values()), path, where, datasets)


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Suspend the garbage collection, which takes most of the time where there are millions of objects."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
