"""Images of a dataset, loaded for drawing as its own pipeline loads them, and names for the pictures."""

import copy
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from torch import nn


class LoadedImages:
    """The images of a dataset as the first steps of its pipeline load them, in RGB.

    So they have the orientation, channels and size that predictions refer to,
    wherever they are stored.

    Args:
        dataset (BaseDataset): A dataset of OpenMMLab, possibly in wrappers.
        model (nn.Module): The model that the dataset is for. It tells whether
            images that the dataset itself holds are in RGB or, since the model
            swaps their channels, in BGR; files are always loaded in BGR.
    """

    def __init__(self, dataset, model: nn.Module) -> None:
        self._dataset = _only_load(dataset)
        inner = getattr(model, 'module', model)  # of a wrapper for several processes, or for augmented tests
        self._to_rgb = getattr(getattr(inner, 'data_preprocessor', None), 'to_rgb', False)

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> np.ndarray:
        """Load an image: uint8, ``(H, W, 3)``, in RGB."""
        held = 'img' in self._dataset.get_data_info(index)
        image = np.atleast_3d(self._dataset[index]['img'])
        # what follows the colors, such as alpha, is not drawn
        image = to_bytes(image[:, :, :3] if image.shape[2] >= 3 else image[:, :, :1].repeat(3, axis=2))
        return image if held and not self._to_rgb else np.ascontiguousarray(image[:, :, ::-1])


def _only_load(dataset):
    """Copy a dataset, not its data; the pipeline of the copy ends once there is an image."""
    dataset = copy.copy(vars(dataset).get('_dataset', dataset))  # mmengine cuts a dataset short in a wrapper
    if hasattr(dataset, 'datasets'):
        dataset.datasets = [_only_load(one) for one in dataset.datasets]
    elif hasattr(dataset, 'dataset'):
        dataset.dataset = _only_load(dataset.dataset)
    else:
        dataset.pipeline = _Loading(dataset.pipeline.transforms)
    return dataset


class _Loading:
    """The first steps of a pipeline, up to the one that loads the image."""

    def __init__(self, transforms: Sequence) -> None:
        self.transforms = transforms

    def __call__(self, results: dict) -> dict:
        for transform in self.transforms:
            if 'img' in results:
                break
            results = transform(results)
        return results


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Turn an image into uint8; values beyond 0 to 255, or that are all at most 1, are stretched to this range."""
    if image.dtype == np.uint8:
        return image
    image = image.astype(np.float64)
    low, high = image.min(), image.max()
    if low < 0 or not 1 < high <= 255:
        image = (image - low) * (255 / (high - low or 1))
    return image.round().astype(np.uint8)


def name_pictures(paths: Sequence[str | None]) -> list[str]:
    """Name one picture for each sample of a dataset.

    The name is the path of the image, from the last folder that all images
    share: ``val/cam1/000.png``. It ends in the sample's index if another
    picture has that name already: ``val/cam1/000-17.png``. Samples without a
    path are named by their index alone: ``images/000017.png``.

    Args:
        paths (Sequence[str | None]): The path of each sample's image.

    Returns:
        list[str]: The names, all different, relative to the pictures' folder.
    """
    files = [os.path.abspath(path) if isinstance(path, str) else None for path in paths]
    folders = {os.path.dirname(file) for file in files if file}
    above = os.path.dirname(os.path.commonpath(folders)) if folders else ''
    names: dict[str, None] = {}
    for index, file in enumerate(files):
        name = os.path.splitext(os.path.relpath(file, above))[0] if file else f'images/{index:06d}'
        while f'{name}.png' in names:
            name = f'{name}-{index}'
        names[f'{name}.png'] = None
    return list(names)


def check_target(target: str | Path, folders: Iterable[str | None]) -> None:
    """Check that a picture by matplotlib can be written without harm to data.

    Args:
        target (str | Path): The file to write.
        folders (Iterable[str | None]): The folders of the data.

    Raises:
        ValueError: If the file would lie in one of the folders.
        FileExistsError: If it would replace anything but a picture by
            matplotlib in PNG.
    """
    real = Path(os.path.realpath(target))
    for folder in filter(None, folders):
        if real.is_relative_to(os.path.realpath(folder)):
            raise ValueError(f'{target} would be taken for data, which lie in {folder}: name a file outside of it')
    # matplotlib writes its name into the header
    if real.exists() and not (real.is_file() and b'Matplotlib' in real.read_bytes()[:1000]):
        raise FileExistsError(
            f'{target} exists and is not a picture of an earlier run: remove it, or name another file'
        )
