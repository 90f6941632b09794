"""Sizes of images as they are loaded, against those in an annotation file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.registry import TRANSFORMS

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
