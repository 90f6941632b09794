"""Annotations that a COCO metric compares predictions with, for what fails or counts wrong after all inference."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...registry import nested_dicts
from .coco_file import Annotations
from .coco_masks import find_states
from .configured import Configured, repeats
from .messages import some, stop, warn


def check_evaluated_objects(
    annotations: Annotations, classes: Sequence[str], metrics: Sequence[str], path: Path, where: str
) -> None:
    """Check that objects have what the metrics need.

    Args:
        annotations (Annotations): The annotations.
        classes (Sequence[str]): The dataset's classes.
        metrics (Sequence[str]): What is computed: ``'bbox'``, ``'segm'``, ...
        path (Path): The annotation file.
        where (str): Name of the evaluator, for messages.

    Raises:
        ValueError: If they do not, there are no objects but crowds, or an object
            has id 0.
    """
    evaluated = annotations.is_among(classes) & (annotations.image >= 0)
    if not (evaluated & ~annotations.crowd).any():
        raise ValueError(
            f'{where}: {path} has no objects of the classes{" but crowds" if evaluated.any() else ""}, so that every '
            'result would be -1: set format_only=True and outfile_prefix to only write predictions'
        )
    zero = np.array([one['id'] == 0 for one in annotations.objects]) & evaluated
    what = f'annotations of {path} have id 0, which pycocotools takes as unmatched'
    stop(where, annotations.describe(zero), what, 'number the annotations from 1')
    for key in ('bbox', 'area', 'iscrowd'):
        lacking = np.array([key not in one for one in annotations.objects]) & evaluated
        advice = 'add it, as the evaluation would fail after all inference; "iscrowd" is 0 or 1'
        stop(where, annotations.describe(lacking), f'annotations of {path} have no {key!r}', advice)
    if 'segm' in metrics:
        states = find_states(annotations, evaluated)
        for state in sorted(set(states[evaluated]) - {'polygons', 'runs'}):
            advice = "correct it, as the evaluation would fail after all inference, or set metric='bbox'"
            what = f"annotations of {path}: their 'segmentation' is {state}"
            stop(where, annotations.describe(states == state), what, advice)


def check_makes_masks(metrics: Sequence[str], model: dict, where: str) -> None:
    """Check that something in a model makes masks if a metric needs them.

    Args:
        metrics (Sequence[str]): What is computed: ``'bbox'``, ``'segm'``, ...
        model (dict): Config of the model.
        where (str): Name of the evaluator, for messages.

    Raises:
        ValueError: If no key or type of the model names a mask.
    """
    words = [word for part in nested_dicts(model) for word in (*part, part.get('type'))]
    if model and 'segm' in metrics and not any('mask' in str(word).lower() for word in words):
        raise ValueError(
            f"{where}: metric={list(metrics)!r} needs masks, but nothing in the model makes them: set metric='bbox', "
            'or take a model with a mask_head'
        )


def check_evaluated_images(
    annotations: Annotations, loaded: Sequence[Annotations], path: Path, where: str, datasets: Sequence[Configured]
) -> None:
    """Check that a metric evaluates the images of its data loader.

    Args:
        annotations (Annotations): The metric's annotations.
        loaded (Sequence[Annotations]): Those of the data loader's datasets.
        path (Path): The metric's annotation file.
        where (str): Name of the evaluator, for messages.
        datasets (Sequence[Configured]): The data loader's datasets.

    Raises:
        ValueError: If it takes others.
    """
    loader = datasets[0].where
    evaluated, *parts = [
        {number: Path(names.names[position]).name for number, position in names.images.items()}
        for names in (annotations, *loaded)
    ]
    if twice := repeats(number for part in parts for number in part):
        raise ValueError(
            f'{where}: the datasets of {loader} have {len(twice)} image ids in common, {some(twice)}; {path} cannot '
            'tell the images apart: number them anew'
        )
    own = {number: name for part in parts for number, name in part.items()}
    for numbers, what in (
        ([number for number in own if number not in evaluated], f'is not in {path}'),
        ([number for number in evaluated if number not in own], f'is not in {loader} and would count as missed'),
        ([number for number in own if own[number] != evaluated.get(number)], 'is another image there'),
    ):
        if numbers:
            example = numbers[0]
            raise ValueError(
                f'{where}: {len(numbers)} of the images of {path} and {loader} differ; image_id {example!r}, '
                f'{own.get(example, evaluated.get(example))}, {what}: let the ann_file of both be the same file'
            )
    differing = find_other_objects(annotations, loaded)
    warn(where, differing, f'images have other objects in {path} than in {loader}: is it the file of another split?')
    for dataset in datasets:
        if dataset.config.get('indices') is not None:
            raise ValueError(
                f'{where}: indices={dataset.config["indices"]} leaves out images of {loader}, which {path} counts as '
                'missed: write a file of the chosen images, and set it as the ann_file of both'
            )


def find_other_objects(annotations: Annotations, loaded: Sequence[Annotations]) -> list[str]:
    """Name the images that have other objects, or objects elsewhere, in one file than in all others."""
    if any(part is annotations for part in loaded):
        return []

    def objects(parts: Sequence[Annotations]) -> dict:
        listed: dict[object, list] = {number: [] for part in parts for number in part.images}
        for part in parts:
            numbers = list(part.images)
            for image, category, box in zip(part.image.tolist(), part.category.tolist(), part.box.tolist()):
                if image >= 0:
                    listed[numbers[image]].append((part.categories[category], box))
        return {number: sorted(found) for number, found in listed.items()}

    ours, theirs = objects([annotations]), objects(loaded)
    return [annotations.names[place] for number, place in annotations.images.items() if ours[number] != theirs[number]]
