"""Sizes of images as they are loaded, against those in an annotation file and one another."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

from ...registry import as_list, nested_dicts
from .configured import Configured, class_of
from .image_files import Header
from .messages import stop, warn


def check_image_sizes(
    files: Sequence[Path], headers: Sequence[Header], sizes: np.ndarray, path: Path, dataset: Configured, cfg: Config
) -> None:
    """Check that images have the sizes that an annotation file says, so that its boxes fit them.

    Args:
        files (Sequence[Path]): The images.
        headers (Sequence[Header]): What is known of them.
        sizes (np.ndarray): Their sizes in the annotation file, (n, 2): width,
            height.
        path (Path): The annotation file.
        dataset (Configured): The dataset.
        cfg (Config): The whole config.

    Raises:
        ValueError: If they have not.
    """
    turns = turns_upright(dataset, cfg)
    if turns is None:
        return
    wrong, causes, doubtful = [], set(), []
    for file, header, (width, height) in zip(files, headers, sizes.tolist()):
        loaded, other = (header.upright_size, header.size) if turns else (header.size, header.upright_size)
        if loaded and loaded != (width, height):
            wrong.append('{}: {:g}x{:g}, loaded as {}x{}'.format(file, width, height, *loaded))
            causes.add('orientation' if other == (width, height) else 'size')
            if header.orientation > 1:
                wrong[-1] += f' (EXIF orientation {header.orientation})'
        elif turns and header.orientation > 1 and header.size == header.upright_size:
            doubtful.append(f'{file} (EXIF orientation {header.orientation})')
    if wrong:
        color = 'color_ignore_orientation' if turns else 'color'
        advice = {
            'orientation': f"load the images with color_type={color!r} and imdecode_backend='cv2' if the boxes fit so",
            'size': 'correct the width, height and boxes in the file, or take the images that they are of',
        }
        what = f'of {len(files)} images have another width and height than {path} says'
        stop(dataset.where, wrong, what, ' and '.join(advice[cause] for cause in sorted(causes)))
    warn(dataset.where, doubtful, 'images are turned upright on loading: check that their boxes fit the turned images')


def turns_upright(dataset: Configured, cfg: Config) -> bool | None:
    """Tell whether a dataset turns images upright, as EXIF data says, on loading; None if mmcv does not load them."""
    for step in dataset.config.get('pipeline') or []:
        if issubclass(class_of(step, TRANSFORMS, cfg, dataset.where), LoadImageFromFile):
            color, backend = step.get('color_type', 'color'), step.get('imdecode_backend', 'cv2')
            return color in ('color', 'grayscale') and backend in ('cv2', 'pillow')
    return None


def check_equal_sizes(files: Sequence[Path], headers: Sequence[Header], dataset: Configured, cfg: Config) -> None:
    """Check that images have the same size if they are stacked as they are, by the libraries' own steps.

    Args:
        files (Sequence[Path]): The images.
        headers (Sequence[Header]): What is known of them.
        dataset (Configured): The dataset.
        cfg (Config): The whole config.

    Raises:
        ValueError: If they have not.
    """
    stacks = any(
        loader.get('batch_size') != 1 and 'default_collate' in str(loader.get('collate_fn'))
        for loader in as_list(cfg[dataset.where])
    )
    turns = turns_upright(dataset, cfg)
    if not stacks or turns is None:
        return
    pipeline = dataset.config.get('pipeline') or []
    kinds = [class_of(step, TRANSFORMS, cfg, dataset.where) for step in pipeline]
    own = all(kind.__module__.startswith(('mmcv.', 'mmpretrain.')) for kind in kinds)
    types = [str(step.get('type')) for step in nested_dicts(pipeline)]
    if not own or any(word in name for name in types for word in ('Resize', 'Crop', 'Pad', 'Albu')):
        return
    sizes: dict[tuple[int, int], Path] = {}
    for file, header in zip(files, headers):
        if size := header.upright_size if turns else header.size:
            sizes.setdefault(size, file)
    if len(sizes) > 1:
        (size, file), (other_size, other), *_ = sizes.items()
        raise ValueError(
            '{}: {} is {}x{}, {} {}x{}, and no step of the pipeline makes their sizes equal, which a batch needs: '
            'add a Resize'.format(dataset.where, file, *size, other, *other_size)
        )
