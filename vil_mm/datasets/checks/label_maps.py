"""Images with label maps, for semantic segmentation."""

import os
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS

from ...registry import as_list
from .class_lists import difference
from .configured import Configured, class_of, find_metrics
from .declared_classes import class_names
from .image_copies import Image, warn_of_copies, warn_of_shared
from .image_files import SUFFIXES, Header, check_image_files, walk_files
from .image_sizes import turns_upright
from .label_values import Labels, check_label_values
from .messages import stop, warn
from .palettes import Colored, check_palettes, warn_of_palettes


def holds_label_maps(dataset: Configured) -> bool:
    """Tell whether a dataset's images have label maps."""
    named = 'seg_map_path' in (dataset.config.get('data_prefix') or {})
    return named or dataset.derives_from('mmseg.BaseSegDataset')


def check_label_maps(datasets: Sequence[Configured], cfg: Config) -> None:
    """Check that images and their label maps exist, are not cut off, and fit each other and the classes.

    Args:
        datasets (Sequence[Configured]): The datasets.
        cfg (Config): The whole config.

    Raises:
        FileNotFoundError: If a folder is missing or empty, or files are missing.
        ValueError: If files are damaged, label maps do not fit their images or
            the classes, or datasets differ in their classes.
    """
    listings = [build_listing(dataset) for dataset in datasets]
    for dataset, listing in zip(datasets, listings):
        check_same_labels(dataset, listing, datasets[0], listings[0])
    loaders: dict[str, str] = {}  # of the images
    known: dict[int, Image] = {}
    colored: list[Colored] = []
    owners: dict[str, tuple[str, str]] = {}  # the first data loader and image of each label map
    for dataset, listing in zip(datasets, listings):
        infos = listing.load_data_list()
        images, maps = check_files(dataset, listing, infos, cfg)
        warn_of_other_images(dataset.where, infos, owners)
        colored += maps
        if 'indices' not in dataset.config:
            warn_of_shared(dataset.where, images, loaders)
            warn_of_copies(dataset.where, list(images.items()), known)
    check_palettes(colored)


def warn_of_other_images(where: str, infos: list[dict], owners: dict[str, tuple[str, str]]) -> None:
    """Warn of label maps that another data loader has for other images.

    Args:
        where (str): Name of the data loader.
        infos (list[dict]): What its dataset lists.
        owners (dict[str, tuple[str, str]]): The data loader and the image of
            each label map so far, to which those of the dataset are added.
    """
    found = []
    for info in infos:
        image, label_map = info['img_path'], info.get('seg_map_path')
        if label_map is None:
            continue
        loader, other = owners.setdefault(os.path.abspath(label_map), (where, image))
        if loader != where and os.path.abspath(other) != os.path.abspath(image):
            found.append(f'{label_map}, of {image} here and of {other} in {loader}')
    warn(where, found, 'label maps belong to other images of another data loader: is it the folder of another split?')


def build_listing(dataset: Configured) -> BaseDataset:
    """Build a dataset that lists its files only.

    Raises:
        FileNotFoundError: If a folder or a list of images is missing.
    """
    root, prefix = dataset.config.get('data_root') or '', dataset.config.get('data_prefix') or {}
    for folder in (Path(root, prefix[key]) for key in ('img_path', 'seg_map_path') if prefix.get(key)):
        if not folder.is_dir():
            raise FileNotFoundError(f'{dataset.where}: there is no folder {folder}')
    names = dataset.config.get('ann_file')
    if names and not Path(root, names).exists():
        raise FileNotFoundError(f'{dataset.where}: there is no list of images {Path(root, names)}')
    return DATASETS.build(dict(dataset.config, type=dataset.kind, pipeline=[], lazy_init=True))


def check_same_labels(dataset: Configured, listing: BaseDataset, first: Configured, first_listing: BaseDataset) -> None:
    """Check that labels mean the same in two datasets.

    Raises:
        ValueError: If classes, their order or ``reduce_zero_label`` differ.
    """
    names, expected = class_names(dataset), class_names(first)
    if names and expected and names != expected:
        raise ValueError(
            f'{dataset.where}: the classes differ from those of {first.where}: {difference(names, expected)}: '
            'set metainfo=dict(classes=...) to the same names, in the same order, in both'
        )
    reduced, first_reduced = (getattr(one, 'reduce_zero_label', False) for one in (listing, first_listing))
    if dataset.where != first.where and reduced != first_reduced:
        raise ValueError(
            f'{dataset.where}: reduce_zero_label={reduced}, but it is {first_reduced} in {first.where}, '
            'so that the same label would mean another class: set it to the same in both'
        )


def check_files(
    dataset: Configured, listing: BaseDataset, infos: list[dict], cfg: Config
) -> tuple[dict[str, int], list[Colored]]:
    """Check the files of a dataset; errors as of :func:`check_label_maps`.

    Args:
        dataset (Configured): The dataset.
        listing (BaseDataset): The same, built.
        infos (list[dict]): What it lists.
        cfg (Config): The whole config.

    Returns:
        tuple[dict[str, int], list[Colored]]: The images with their fingerprints,
        and the label maps with palettes.
    """
    where, folders = dataset.where, listing.data_prefix
    if not infos:
        raise FileNotFoundError(
            f'{where}: there are no images in {folders["img_path"]} whose names end in {listing.img_suffix!r}'
        )
    images = [Path(info['img_path']) for info in infos]
    maps = [Path(info['seg_map_path']) for info in infos if 'seg_map_path' in info]
    if any(path.name == listing.img_suffix for path in images):
        raise ValueError(f'{where}: the list of images {listing.ann_file} has blank lines: remove them')
    listed = f'; img_suffix={listing.img_suffix!r} is added to the names in {listing.ann_file}'
    colored: list[Colored] = []
    headers = check_image_files(images, where, 'images', listed if listing.ann_file else '')
    if maps:
        found = next(walk_files(folders['seg_map_path']), 'none')
        named = f'; seg_map_suffix={listing.seg_map_suffix!r}, and the first file in the folder is {found}'
        map_headers = check_image_files(maps, where, 'label maps', named)
        colored = check_pixels(dataset, listing, list(zip(images, headers, maps, map_headers)), cfg)
    if not listing.ann_file:
        check_beside(where, listing, images, maps)
    return {str(path): header.fingerprint for path, header in zip(images, headers)}, colored


def check_pixels(
    dataset: Configured, listing: BaseDataset, pairs: Sequence[tuple[Path, Header, Path, Header]], cfg: Config
) -> list[Colored]:
    """Check the sizes and values of label maps, if the libraries' own steps load them.

    Args:
        dataset (Configured): The dataset.
        listing (BaseDataset): The same, built.
        pairs (Sequence[tuple[Path, Header, Path, Header]]): Images and their
            label maps.
        cfg (Config): The whole config.

    Returns:
        list[Colored]: Those of the label maps read that have palettes.

    Raises:
        ValueError: If label maps do not fit their images or the classes.
    """
    where, reduced = dataset.where, listing.reduce_zero_label
    turns = turns_upright(dataset, cfg)
    if turns is not None:
        check_sizes(where, pairs, turns)
    for step in dataset.config.get('pipeline') or []:
        load = getattr(class_of(step, TRANSFORMS, cfg, where), '_load_seg_map', None)
        if not getattr(load, '__module__', '').startswith('mmseg.'):
            continue
        if step.get('reduce_zero_label') not in (None, reduced):
            raise ValueError(
                f'{where}: LoadAnnotations has reduce_zero_label={step["reduce_zero_label"]}, the dataset {reduced}: '
                'set it in the dataset only'
            )
        head = (as_list((cfg.get('model') or {}).get('decode_head')) or [{}])[-1]
        names, ignored = class_names(dataset) or [], ignored_label(head)
        number = len(names) or head.get('num_classes')
        check_ignored(dataset, ignored, cfg)
        labels = Labels(number, ignored, reduced, listing.label_map, *names[:1])
        maps = [(path, header) for _, _, path, header in pairs]
        colored = check_label_values(where, maps, labels, step.get('imdecode_backend', 'pillow'))
        palette = listing.metainfo.get('palette') or []
        values = {labels.label(value): value for value in range(256)}
        usual = {tuple(color): values[label] for label, color in enumerate(palette) if label in values}
        warn_of_palettes(where, colored, usual)
        return colored
    return []


def ignored_label(config: dict) -> int:
    """Tell the label that a head, a dataset or a metric ignores."""
    ignored = config.get('ignore_index')
    return 255 if ignored is None else ignored


def check_ignored(dataset: Configured, ignored: int, cfg: Config) -> None:
    """Warn of settings of the ignored label that are not the head's, which is the one that training follows.

    Args:
        dataset (Configured): The dataset.
        ignored (int): The head's.
        cfg (Config): The whole config.
    """
    settings = {'the dataset: ignore_index': dataset.config.get('ignore_index', ignored)}
    if dataset.where.startswith('train'):
        model = cfg.get('model') or {}
        settings['data_preprocessor: seg_pad_val'] = (model.get('data_preprocessor') or {}).get('seg_pad_val', 255)
        for head in as_list(model.get('auxiliary_head')):
            settings['auxiliary_head: ignore_index'] = ignored_label(head)
    for metric in find_metrics(cfg, [dataset.where.replace('_dataloader', '_evaluator')]):
        if metric.derives_from('mmseg.IoUMetric'):
            settings[f'{metric.where}: ignore_index'] = ignored_label(metric.config)
    others = [f'{name}={value}' for name, value in settings.items() if value != ignored]
    warn(dataset.where, others, f'settings of the ignored label are not that of decode_head, {ignored}')


def check_sizes(where: str, pairs: Sequence[tuple[Path, Header, Path, Header]], turns: bool) -> None:
    """Check that images and label maps have the same sizes.

    Args:
        where (str): Name of the data loader, for messages.
        pairs (Sequence[tuple[Path, Header, Path, Header]]): Images and their
            label maps.
        turns (bool): Whether images are turned upright on loading, as EXIF data
            says. Label maps never are.

    Raises:
        ValueError: If sizes differ.
    """
    wrong, doubtful = [], []
    for image, header, path, map_header in pairs:
        size = header.upright_size if turns else header.size
        if size and map_header.size and size != map_header.size:
            turned = f', turned upright by EXIF orientation {header.orientation}' if size != header.size else ''
            wrong.append('{} is {}x{}, {} {}x{}'.format(path, *map_header.size, image, *size) + turned)
        elif turns and header.orientation > 1 and header.size == header.upright_size:
            doubtful.append(f'{image} (EXIF orientation {header.orientation})')
    advice = 'give each image a label map of its width and height'
    if any('EXIF' in text for text in wrong):
        advice += ", or load images with color_type='color_ignore_orientation' if label maps are not turned"
    stop(where, wrong, f'of {len(pairs)} label maps differ in size from their image', advice)
    warn(where, doubtful, 'images are turned upright on loading, label maps never are: check that they agree')


def check_beside(where: str, listing: BaseDataset, images: Sequence[Path], maps: Sequence[Path]) -> None:
    """Warn of files that are left out, if all files of a folder are to be used."""
    used = {*images, *maps}
    # other files may lie beside the label maps, as in Cityscapes
    beside = (path for folder in {path.parent for path in maps} for path in folder.iterdir())
    lone = sorted(path for path in beside if path.name.endswith(listing.seg_map_suffix) and path not in used)
    warn(where, lone, 'label maps have no image')
    map_folder = Path(listing.data_prefix.get('seg_map_path') or os.devnull)
    files = map(Path, walk_files(listing.data_prefix['img_path']))
    others = [path for path in files if path.suffix.lower() in SUFFIXES and path not in used]
    others = sorted(path for path in others if map_folder not in path.parents)
    warn(where, others, f'images are left out, as their names do not end in {listing.img_suffix!r}')
