"""Checks of a run's data before anything is built: what the libraries crash on late, or skip in silence."""

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mmcv
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DATASETS, init_default_scope

SHOWN = 3
#: Where launchers say which process of a run this is.
RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Check the datasets of the given loaders, in the first process of a run.

    COCO's annotations, label maps, and the images of both are known, and
    folders of classes, which must not be empty; other datasets, and what is not
    in local files, pass.

    Args:
        cfg (Config): The config.
        loaders (Sequence[str]): The data loaders that will be used, such as
            ``'train_dataloader'``.

    Raises:
        FileNotFoundError: If a folder is empty, or files are missing; it names
            the first of them.
        ValueError: If files are no images, or annotations do not fit.
    """
    if any(os.environ.get(name, '0') != '0' for name in RANKS):
        return
    for loader in loaders:
        for dataset in _innermost((cfg.get(loader) or {}).get('dataset') or {}):
            if _is_remote(dataset):
                continue
            kind = str(dataset.get('type')).split('.')[-1]
            if kind in ('ImageNet', 'CustomDataset'):
                check_class_folders(dataset, loader)
            elif kind == 'CocoDataset':
                check_coco(dataset, loader)
            elif 'seg_map_path' in (dataset.get('data_prefix') or {}):
                check_label_maps(dataset, loader, cfg.default_scope)


def _innermost(dataset: dict) -> list[dict]:
    """The datasets that a dataset concatenates, repeats or mixes; itself where it does not."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    return [deepest for one in inner for deepest in _innermost(one)] or [dataset]


def _is_remote(dataset: dict) -> bool:
    """Whether files are elsewhere than in this machine's folders."""
    prefix = dataset.get('data_prefix') or {}
    places = [dataset.get('data_root'), dataset.get('ann_file'), *(prefix.values() if isinstance(prefix, dict) else [])]
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return backend != 'local' or any('://' in str(place) for place in places)


def check_class_folders(dataset: dict, loader: str) -> None:
    """Check that folders hold images, where they are all that there is: no list of images."""
    root, split, prefix = (dataset.get(key) or '' for key in ('data_root', 'split', 'data_prefix'))
    prefix = prefix.get('img_path', '') if isinstance(prefix, dict) else prefix
    if dataset.get('ann_file') or not dataset.get('with_label', True):
        return
    folder = Path(root, prefix or split)
    if (split and Path(root, 'meta', f'{split}.txt').is_file()) or not root:
        return
    if next(folder.glob('*/*'), None) is None:
        raise FileNotFoundError(f'{loader}: there are no images in {folder}, which must hold <class>/<image>')


def check_coco(dataset: dict, loader: str) -> None:
    """Check images and boxes of a COCO annotation file; say what will be left out."""
    root = dataset.get('data_root') or ''
    path = Path(root, dataset.get('ann_file') or '')
    if not path.is_file():
        raise FileNotFoundError(f'{loader}: there is no annotation file {path}')
    images, categories, boxes = _read_coco(path, loader)
    folder = Path(root, (dataset.get('data_prefix') or {}).get('img', ''))
    check_files((folder / name for name, *_ in images.values()), loader, 'images')
    classes = (dataset.get('metainfo') or {}).get('classes') or DATASETS.get('mmdet.CocoDataset').METAINFO['classes']
    if isinstance(classes, str):  # a file of names
        classes = list(categories.values())
    absent = [name for name in classes if name not in categories.values()]
    if categories and len(absent) == len(classes):
        raise ValueError(
            f'{loader}: none of the categories of {path}, {_some(list(categories.values()))}, is among the classes of '
            f'the dataset, {_some(classes)}: set its metainfo=dict(classes=...)'
        )

    foreign, outside, beyond, empty, small = [], [], [], [], []
    filters = {} if dataset.get('test_mode') else dataset.get('filter_cfg') or {}
    for number, (name, width, height) in images.items():
        known = 0
        for annotation, category, area, box in boxes[number]:
            (x, y, w, h), what = box, f'annotation {annotation} of {name}: {box}'
            if categories.get(category) not in classes:
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
    for found, fate in (
        (absent, 'classes have no category of their name'),
        (foreign, 'boxes are of no class of the dataset: they are left out'),
        (outside, 'boxes lie outside of their image, or are less than a pixel: they are left out'),
        (beyond, 'boxes reach beyond their image: resizing cuts them, the evaluation does not'),
        (empty, 'images have no objects: training leaves them out'),
        (small, f'images are smaller than {filters.get("min_size")} pixels: training leaves them out'),
    ):
        if found:
            print_log(f'{loader}: {len(found)} {fate}; {_some(found)}', 'current', logging.WARNING)


def _read_coco(path: Path, loader: str) -> tuple[dict, dict, dict]:
    """Read a COCO annotation file.

    Returns:
        tuple[dict, dict, dict]: Of each image its file's name, width and
        height; of each category its name; and of each image its objects that
        are not to be ignored: number, category, area and box ``[x, y, w, h]``.
    """
    boxes = defaultdict(list)
    try:
        content = json.loads(path.read_text())
        images = {image['id']: (image['file_name'], image['width'], image['height']) for image in content['images']}
        categories = {category['id']: category['name'] for category in content.get('categories', [])}
        for annotation in content.get('annotations', []):  # there are none in lists of test images
            if not annotation.get('ignore'):
                x, y, w, h = (+value for value in annotation['bbox'])  # numbers
                boxes[annotation['image_id']].append(
                    (annotation['id'], annotation['category_id'], +annotation['area'], [x, y, w, h])
                )
    except (AttributeError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f"{loader}: {path} is not in COCO's format: {error!r}") from error
    if not images:
        raise ValueError(f'{loader}: {path} lists no images')
    return images, categories, boxes


def check_label_maps(dataset: dict, loader: str, scope: str) -> None:
    """Check that images and their label maps are there."""
    init_default_scope(scope)
    root, prefix = dataset.get('data_root') or '', dataset['data_prefix']
    for folder in (Path(root, prefix['img_path']), Path(root, prefix['seg_map_path'])):
        if not folder.is_dir():
            raise FileNotFoundError(f'{loader}: there is no folder {folder}')
    listing = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
    infos = listing.load_data_list()
    if not infos:
        raise FileNotFoundError(f'{loader}: there are no images in {Path(root, prefix["img_path"])}')
    check_files((Path(info['img_path']) for info in infos), loader, 'images')
    maps = {Path(info['seg_map_path']) for info in infos}
    check_files(maps, loader, 'label maps')
    if not dataset.get('ann_file'):
        # other files may lie beside the label maps, as in Cityscapes
        beside = (path for folder in {path.parent for path in maps} for path in folder.iterdir())
        alone = sorted(path for path in beside if path.name.endswith(listing.seg_map_suffix) and path not in maps)
        if alone:
            print_log(f'{loader}: {len(alone)} label maps have no image; {_some(alone)}', 'current', logging.WARNING)


def check_files(paths: Iterable[Path], loader: str, kind: str) -> None:
    """Check that files are there, and whole as far as their first and last bytes tell.

    Raises:
        FileNotFoundError: If one is missing.
        ValueError: If one is damaged.
    """
    paths = list(paths)
    with ThreadPoolExecutor(16) as pool:
        states = list(pool.map(_state, paths))
    for error, state in ((FileNotFoundError, 'missing'), (ValueError, 'damaged')):
        found = [path for path, is_ in zip(paths, states) if is_ == state]
        if found:
            raise error(f'{loader}: {len(found)} of {len(paths)} {kind} are {state}; {_some(found)}')


def _state(path: Path) -> str:
    """Tell whether an image file is missing, damaged or whole, where it can be without decoding it."""
    try:
        with path.open('rb') as file:
            start = file.read(8)
            file.seek(-min(64, file.seek(0, os.SEEK_END)), os.SEEK_END)
            end = file.read()
    except OSError:
        return 'missing'
    is_png, is_jpeg = start == b'\x89PNG\r\n\x1a\n', start[:2] == b'\xff\xd8'
    if not is_png and not is_jpeg and start and path.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        return 'whole'  # as far as can be told
    if (is_png and b'IEND' in end) or (is_jpeg and b'\xff\xd9' in end):
        return 'whole'
    # cut off, or of another kind than its name says, or with something after its end, which readers take
    content = path.read_bytes()
    return 'whole' if content and mmcv.imfrombytes(content, flag='unchanged') is not None else 'damaged'


def _some(items: Sequence) -> str:
    """Name the first few."""
    return 'such as ' + '; '.join(map(str, items[:SHOWN]))
