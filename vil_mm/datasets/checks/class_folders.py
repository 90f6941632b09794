"""Images of classes, in one folder per class, in lists, or in zip files."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS

from . import declared_classes
from .class_lists import difference
from .configured import Configured
from .image_files import SUFFIXES, check_image_files, spread, walk_files, warn_of_shared
from .image_sizes import check_equal_sizes
from .messages import note, some, stop, warn

#: How many of a dataset's images are read: all of ImageNet's for validation.
SAMPLE = 50_000
#: Folders that file systems and archives add, besides hidden ones.
FOREIGN = {'__MACOSX', '__pycache__', '@eaDir', 'lost+found', '$RECYCLE.BIN'}


class Contents(NamedTuple):
    """What a dataset holds.

    Args:
        where (str): Name of its data loader.
        root (str): Folder of its images.
        images (list[str]): Its images.
        labels (dict[str, int]): The labels of folders, if each class has a
            folder of its own.
        by_folder (bool): Whether the folders make the labels, not a list.
    """

    where: str
    root: str
    images: list[str]
    labels: dict[str, int]
    by_folder: bool


def holds_class_folders(dataset: Configured) -> bool:
    """Tell whether a dataset's images may be in a folder per class; some are in lists or zip files."""
    return dataset.derives_from('mmpretrain.CustomDataset') or is_zip(dataset)


def check_class_folders(datasets: Sequence[Configured], cfg: Config) -> None:
    """Check that images exist and are whole, and that labels mean the same in the folders, the config and all datasets.

    Args:
        datasets (Sequence[Configured]): Datasets that are ``CustomDataset`` of
            mmpretrain or ``ZipDataset``. Others are compared with the first.
        cfg (Config): The whole config.

    Raises:
        FileNotFoundError: If there are no images, or some are missing.
        ValueError: If images are damaged, a list of images is not as it must
            be, classes differ, or images of different sizes are not resized.
    """
    names: list[str] | None = None
    loader = ''
    first: Contents | None = None
    loaders: dict[str, str] = {}  # of the images
    for dataset in datasets:
        listing, own = build_listing(dataset)
        if own and names and own != names:
            raise ValueError(
                f'{dataset.where}: the classes differ from those of {loader}: {difference(own, names)}: '
                'set metainfo=dict(classes=...) to the same names, in the same order, in both'
            )
        if own and not names:
            names, loader = own, dataset.where
        contents = read_contents(dataset, listing, own, cfg)
        if contents.labels:
            first = first or contents
            compare(contents, first)
        if 'indices' not in dataset.config and 'KFoldDataset' not in str(cfg[dataset.where]):
            warn_of_shared(dataset.where, contents.images, loaders)


def class_names(dataset: Configured) -> list[str] | None:
    """Tell the classes of a dataset.

    Args:
        dataset (Configured): The dataset.

    Returns:
        list[str], optional: Their names, in the order of the labels: those in
        the config, else those of the folders, else the numbers of a zip file's
        labels. None if the images are in a list and only that tells.

    Raises:
        FileNotFoundError: If there is no folder of images.
        ValueError: If the names are not a list, or a folder is no class.
    """
    listing, names = build_listing(dataset)
    if names is None and is_zip(dataset):
        return [str(label) for label in range(listing.num_classes)]
    if names is None and listing.with_label and not listing.ann_file:
        return list_folders(listing, dataset.where)
    return names


def build_listing(dataset: Configured) -> tuple[BaseDataset, list[str] | None]:
    """Build a dataset without reading what it holds, and tell its classes, if the config does."""
    declared_classes.class_names(dataset)  # refuses what is no list of names
    listing = DATASETS.build(dict(dataset.config, type=dataset.kind, pipeline=[], lazy_init=True))
    return listing, list(listing.CLASSES) if listing.CLASSES else None


def is_zip(dataset: Configured) -> bool:
    """Tell whether the images are in a zip file."""
    return dataset.derives_from('vil_mm.ZipDataset')


def read_contents(dataset: Configured, listing: BaseDataset, names: Sequence[str] | None, cfg: Config) -> Contents:
    """Read what a dataset holds, and check it; errors as of :func:`check_class_folders`.

    Args:
        dataset (Configured): The dataset.
        listing (BaseDataset): The same, built.
        names (Sequence[str], optional): The classes, if the config names them.
        cfg (Config): The whole config.
    """
    where = dataset.where
    if is_zip(dataset):  # it checks itself
        infos = listing.load_data_list()
        samples = [(info['img_path'].partition('.zip/')[2], info['gt_label']) for info in infos]
        return Contents(where, str(listing.archive), [info['img_path'] for info in infos], find_labels(samples), False)
    root, labels = listing.img_prefix, {}
    by_folder = listing.with_label and not listing.ann_file
    if by_folder:
        folders = list_folders(listing, where)
        labels = {folder: label for label, folder in enumerate(folders)}
        check_count(where, root, folders, names)
        images = list_images(listing, where, folders)
    elif listing.ann_file:
        samples = read_list(listing, where, names)
        labels = find_labels(samples)
        images = [os.path.join(root, name) for name, _ in samples]
    else:
        images = list_images(listing, where, [''])
    places = {name: place for place, name in enumerate(names or [])}
    moved = [
        f'{name} ({label}, not {places[name]})' for name, label in labels.items() if places.get(name, label) != label
    ]
    order = 'the sorted folders' if by_folder else listing.ann_file
    stop(where, moved, f'classes have another place in classes than their label, by {order}', 'name them in that order')
    if not images:
        held = ', which must hold <class>/<image>' if by_folder else ''
        raise FileNotFoundError(f'{where}: there are no images in {root}{held}')
    chosen = spread(images, SAMPLE)
    kind = 'images'
    if len(chosen) < len(images):
        kind = f'images, a sample of {len(images)},'
        note(where, f'checked {len(chosen)} of the {len(images)} image files')
    listed = f', which {listing.ann_file} lists' if listing.ann_file else ''
    files = list(map(Path, chosen))
    check_equal_sizes(files, check_image_files(files, where, kind, listed), dataset, cfg)
    return Contents(where, root, images, labels, by_folder)


def list_folders(listing: BaseDataset, where: str) -> list[str]:
    """List the folders that are the classes, in the order of their labels.

    Args:
        listing (BaseDataset): The dataset.
        where (str): Name of the data loader, for messages.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If some are no classes, or hold the classes.
    """
    root = Path(listing.img_prefix)
    folders = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not folders:
        raise FileNotFoundError(f'{where}: there are no images in {root}, which must hold <class>/<image>')
    odd = [str(root / name) for name in folders if name.startswith('.') or name in FOREIGN]
    advice = 'remove them, or list the images in an ann_file'
    stop(where, odd, 'folders are no classes, but mmpretrain would take them as such', advice)
    only = root / folders[0]
    within = sorted(only.iterdir()) if len(folders) == 1 else []
    if len(within) > 1 and all(path.is_dir() for path in within):
        raise ValueError(
            f'{where}: the only class in {root} is {only.name}, which holds more folders, '
            f'{some([path.name for path in within])}: if these are the classes, set data_prefix to {only}'
        )
    return folders


def check_count(where: str, root: str, folders: Sequence[str], names: Sequence[str] | None) -> None:
    """Check that there are as many folders as the config names classes.

    Raises:
        ValueError: If there are not.
    """
    if names is None or len(names) == len(folders):
        return
    text = f'{where}: {root} has {len(folders)} class folders, but classes names {len(names)}'
    if set(folders) & set(names):
        text += f': {difference(folders, names)}: correct classes, or add empty folders'
    else:
        text += ": set classes; without them, type='CustomDataset' takes the names of the folders"
    raise ValueError(text)


def list_images(listing: BaseDataset, where: str, folders: Sequence[str]) -> list[str]:
    """List the images of a dataset, and warn of those that are left out.

    Args:
        listing (BaseDataset): The dataset.
        where (str): Name of the data loader, for messages.
        folders (Sequence[str]): The folders that hold the images.
    """
    root, images, others = listing.img_prefix, [], []
    for folder in folders:
        for path in walk_files(os.path.join(root, folder)):
            if listing.is_valid_file(path):
                images.append(path)
            elif path.lower().endswith(SUFFIXES):
                others.append(path)
    warn(where, others, f'images are left out, as extensions has only {", ".join(sorted(listing.extensions))}')
    hidden = [path for path in images if '/.' in path[len(root) :]]
    warn(where, hidden, 'images are in hidden folders within those of the classes, and count too')
    if '' not in folders:
        direct = sorted(entry.path for entry in os.scandir(root) if listing.is_valid_file(entry.name))
        warn(where, direct, 'images are in no class folder: they are left out')
    return images


def read_list(listing: BaseDataset, where: str, names: Sequence[str] | None) -> list[tuple[str, int]]:
    """Read a list of images.

    Args:
        listing (BaseDataset): The dataset.
        where (str): Name of the data loader, for messages.
        names (Sequence[str], optional): The classes, if the config names them.

    Returns:
        list[tuple[str, int]]: The images and their labels, which are 0 if the
        dataset has none.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is not as it must be, a label of no class, or an
            image has two labels.
    """
    path = Path(listing.ann_file)
    if not path.is_file():
        raise FileNotFoundError(f'{where}: there is no list of images {path}')
    samples, twice = [], []
    known: dict[str, int] = {}  # the labels so far
    for number, line in enumerate(list_from_file(path), start=1):
        name, _, label = line.strip().rpartition(' ') if listing.with_label else (line, '', '0')
        try:
            index = int(label)
        except ValueError:
            name = ''
        if not name:
            form = 'the name of an image, a space and the number of its class' if listing.with_label else 'a name'
            raise ValueError(f'{where}: {path}, line {number}: {line!r} must be {form}')
        if index < 0 or (names and index >= len(names)):
            last = f' to {len(names) - 1}, for {len(names)} classes' if names else ' or more'
            raise ValueError(f'{where}: {path}, line {number}: {line!r} has class {index}, must be 0{last}')
        if name in known:
            twice.append(f'line {number}: {name}')
        if known.setdefault(name, index) != index:
            raise ValueError(
                f'{where}: {path}, line {number}: {name} has class {index}, but {known[name]} in an earlier line: '
                'keep the right one'
            )
        samples.append((name, index))
    warn(where, twice, f'images are listed in {path} again, and count more than once')
    warn_of_odd(samples, path, where)
    if names and listing.with_label and where.startswith('train'):
        used = {label for _, label in samples}
        warn(where, [name for label, name in enumerate(names) if label not in used], f'classes have no image in {path}')
    return samples


def warn_of_odd(samples: Sequence[tuple[str, int]], path: Path, where: str) -> None:
    """Warn of images whose label is not that of most in their folder, if each label is that of most in one folder.

    Args:
        samples (Sequence[tuple[str, int]]): Images and their labels.
        path (Path): The list of them.
        where (str): Name of the data loader, for messages.
    """
    counts: defaultdict[str, Counter] = defaultdict(Counter)
    for name, label in samples:
        counts[os.path.dirname(name)][label] += 1
    usual = {folder: count.most_common(1)[0][0] for folder, count in counts.items()}
    odd = [
        f'{name} ({label}, not {usual[os.path.dirname(name)]})'
        for name, label in samples
        if label != usual[os.path.dirname(name)]
    ]
    labels = {label for _, label in samples}
    mostly = all(2 * max(count.values()) > count.total() for count in counts.values())
    if mostly and len(usual) == len(labels) == len(set(usual.values())) and 5 * len(odd) <= len(samples):
        warn(where, odd, f'images have another label in {path} than the other images of their folder')


def find_labels(samples: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Find the labels of folders, if each holds all images of one class, else none.

    Args:
        samples (Sequence[tuple[str, int]]): Images and their labels.
    """
    labels: dict[str, int] = {}
    for name, label in samples:
        folder, separator, _ = name.partition('/')
        if not separator or labels.setdefault(folder, label) != label:
            return {}
    return labels if len(set(labels.values())) == len(labels) else {}


def compare(contents: Contents, first: Contents) -> None:
    """Check that the folders of classes have the same labels in two datasets.

    Raises:
        ValueError: If they do not.
    """
    folders, expected = list(contents.labels), list(first.labels)
    if contents.by_folder and first.by_folder and folders != expected:
        raise ValueError(
            f'{contents.where}: the class folders of {contents.root} differ from those of {first.root}, '
            f'of {first.where}: {difference(folders, expected)}; as labels count the sorted folders, they would mean '
            'other classes: add an empty folder for each class without images, or correct the names'
        )
    moved = [
        f'{folder} ({label}, not {first.labels[folder]})'
        for folder, label in contents.labels.items()
        if first.labels.get(folder, label) != label
    ]
    what = f'class folders of {contents.root} have another label than those of {first.root}, of {first.where}'
    stop(contents.where, moved, what, 'correct the lists')
