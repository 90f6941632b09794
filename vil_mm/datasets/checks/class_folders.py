"""Images of classes, in one folder per class, in lists, or in zip files."""

import io
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import PIL.Image
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS

from . import declared_classes
from .class_lists import difference
from .configured import Configured
from .image_copies import Image, find_copies, warn_of_copies, warn_of_shared
from .image_files import SUFFIXES, check_image_files, spread, walk_files
from .image_lists import check_samples, find_labels, read_list
from .image_sizes import check_equal_sizes
from .messages import note, some, stop, warn

#: How many of a dataset's images are read: all of ImageNet's for validation.
SAMPLE = 50_000
#: How many images in a zip file are read.
ZIP_SAMPLE = 1000
#: Folders that file systems and archives add, besides hidden ones.
FOREIGN = {'__MACOSX', '__pycache__', '@eaDir', 'lost+found', '$RECYCLE.BIN'}
#: Parts of the data, which are no classes.
SPLITS = {'train', 'training', 'val', 'valid', 'validation', 'test', 'testing'}


class Contents(NamedTuple):
    """What a dataset holds.

    Args:
        where (str): Name of its data loader.
        root (str): Folder of its images.
        images (list[str]): Its images.
        labels (dict[str, int]): The labels of folders, if each class has a
            folder of its own.
        by_folder (bool): Whether the folders make the labels, not a list.
        read (list[Image]): The images that were read, with their labels.
        empty (list[str]): Classes of which there is no image.
        source (str): The folder or the list that tells.
    """

    where: str
    root: str
    images: list[str]
    labels: dict[str, int]
    by_folder: bool
    read: list[Image]
    empty: list[str]
    source: str


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
    known: dict[int, Image] = {}
    empty: defaultdict[str, list[Contents]] = defaultdict(list)
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
        empty[dataset.where].append(contents)
        if contents.labels:
            first = first or contents
            compare(contents, first)
        if 'indices' not in dataset.config and 'KFoldDataset' not in str(cfg[dataset.where]):
            warn_of_shared(dataset.where, contents.images, loaders)
            warn_of_copies(dataset.where, [image[:2] for image in contents.read], known)
    for where, parts in empty.items():
        lacking = [name for name in parts[0].empty if all(name in part.empty for part in parts)]
        if where.startswith('train'):
            warn(where, lacking, f'classes have no image in {" or ".join(part.source for part in parts)}')


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
    where, root, labels = dataset.where, listing.img_prefix, {}
    with_label = is_zip(dataset) or listing.with_label
    by_folder = with_label and not listing.ann_file
    folders = ['']
    # other data may have other classes, as in retrieval
    head = (cfg.get('model') or {}).get('head') if where.startswith('train') else None
    number = len(names) if names else head.get('num_classes') if isinstance(head, dict) else None
    if is_zip(dataset):  # which checks itself
        root = str(listing.archive)
        samples = [(info['img_path'][len(root) + 1 :], info['gt_label']) for info in listing.load_data_list()]
    elif listing.ann_file:
        samples = read_list(listing, where, number)
    else:
        if by_folder:
            folders = list_folders(listing, where)
            check_count(where, root, folders, names)
            warn_of_alike(where, root, folders)
        samples = list_images(listing, where, folders)
    if by_folder:
        labels = {folder: label for label, folder in enumerate(folders)}
    elif with_label:
        check_samples(samples, listing.ann_file, where)
        labels = find_labels(samples)
    places = {name: place for place, name in enumerate(names or [])}
    moved = [
        f'{name} ({label}, not {places[name]})' for name, label in labels.items() if places.get(name, label) != label
    ]
    order = 'the sorted folders' if by_folder else listing.ann_file
    stop(where, moved, f'classes have another place in classes than their label, by {order}', 'name them in that order')
    if not samples:
        held = ', which must hold <class>/<image>' if by_folder else ''
        raise FileNotFoundError(f'{where}: there are no images in {root}{held}')
    used = {label for _, label in samples}
    classes = folders if by_folder else names or list(map(str, range(number or 0)))
    empty = [name for label, name in enumerate(classes) if with_label and label not in used]
    source = root if by_folder else listing.ann_file
    images = check_images(dataset, listing, samples, cfg)
    copies = find_copies(images, {})
    warn(where, copies, 'images are in another class too, with the same content')
    paths = [os.path.join(root, name) for name, _ in samples]
    return Contents(where, root, paths, labels, by_folder, images, empty, source)


def check_images(
    dataset: Configured, listing: BaseDataset, samples: Sequence[tuple[str, int]], cfg: Config
) -> list[Image]:
    """Check a sample of the images of a dataset, and tell what was read.

    Args:
        dataset (Configured): The dataset.
        listing (BaseDataset): The same, built.
        samples (Sequence[tuple[str, int]]): Its images, as paths in the folder
            or the zip file, and their labels.
        cfg (Config): The whole config.

    Raises:
        FileNotFoundError: If some are missing.
        ValueError: If some are damaged, or are of different sizes and are not
            resized.
    """
    where = dataset.where
    if is_zip(dataset):
        stats = [listing.stat(name) for name, _ in samples]
        odd = [name for name, _ in samples if FOREIGN & set(name.split('/')) or '/._' in f'/{name}']
        what = f'names in {listing.ann_file} are of no images, but of files that a system or archive has added'
        stop(where, odd, what, 'remove their lines')
        empty = [name for (name, _), (size, _) in zip(samples, stats) if size == 0]
        stop(where, empty, f'images in {listing.archive} are empty', 'write them anew')
        unknown = [name for name, _ in spread(samples, ZIP_SAMPLE) if not is_image(listing.read(name))]
        stop(where, unknown, f'files in {listing.archive} are damaged or no images', 'write them anew')
        return [Image(f'{listing.archive}/{name}', hash(stat), label) for (name, label), stat in zip(samples, stats)]
    chosen = spread(samples, SAMPLE)
    kind = 'images'
    if len(chosen) < len(samples):
        kind = f'images, a sample of {len(samples)},'
        note(where, f'checked {len(chosen)} of the {len(samples)} image files')
    listed = f', which {listing.ann_file} lists' if listing.ann_file else ''
    files = [Path(listing.img_prefix, name) for name, _ in chosen]
    headers = check_image_files(files, where, kind, listed)
    check_equal_sizes(files, headers, dataset, cfg)
    return [Image(str(file), header.fingerprint, label) for file, header, (_, label) in zip(files, headers, chosen)]


def is_image(content: bytes) -> bool:
    """Tell whether a file's content begins as that of an image."""
    try:
        PIL.Image.open(io.BytesIO(content)).close()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


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
    if len(folders) > 1 and SPLITS.issuperset(folders):
        raise ValueError(
            f'{where}: the classes in {root} are {", ".join(folders)}, which are parts of the data: set data_prefix to '
            'the folder of one of them'
        )
    only = root / folders[0]
    within = sorted(only.iterdir()) if len(folders) == 1 else []
    if len(within) > 1 and all(path.is_dir() for path in within):
        raise ValueError(
            f'{where}: the only class in {root} is {only.name}, which holds more folders, '
            f'{some([path.name for path in within])}: if these are the classes, set data_prefix to {only}'
        )
    return folders


def warn_of_alike(where: str, root: str, folders: Sequence[str]) -> None:
    """Warn of class folders whose names differ only in capitals and separators."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in folders:
        alike[re.sub(r'[\W_]+', ' ', name.lower()).strip()].append(name)
    pairs = [' and '.join(map(repr, names)) for key, names in alike.items() if len(names) > 1 and len(key) > 2]
    warn(where, pairs, f'names of class folders in {root} are almost the same: each is a class of its own')


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


def list_images(listing: BaseDataset, where: str, folders: Sequence[str]) -> list[tuple[str, int]]:
    """List the images of a dataset, and warn of those that are left out.

    Args:
        listing (BaseDataset): The dataset.
        where (str): Name of the data loader, for messages.
        folders (Sequence[str]): The folders that hold the images.

    Returns:
        list[tuple[str, int]]: The paths of the images in the dataset's folder,
        and the places of their folders.
    """
    root, samples, others = listing.img_prefix, [], []
    prefix = len(os.path.join(root, ''))
    for label, folder in enumerate(folders):
        for path in walk_files(os.path.join(root, folder)):
            if listing.is_valid_file(path):
                samples.append((path[prefix:], label))
            elif path.lower().endswith(SUFFIXES):
                others.append(path)
    warn(where, others, f'images are left out, as extensions has only {", ".join(sorted(listing.extensions))}')
    hidden = [os.path.join(root, name) for name, _ in samples if '/.' in name]
    warn(where, hidden, 'images are in hidden folders within those of the classes, and count too')
    if '' not in folders:
        direct = sorted(entry.path for entry in os.scandir(root) if listing.is_valid_file(entry.name))
        warn(where, direct, 'images are in no class folder: they are left out')
    return samples


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
