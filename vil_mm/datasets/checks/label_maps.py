"""Images with label maps, for semantic segmentation."""

from pathlib import Path

from mmengine.registry import DATASETS, init_default_scope

from .image_files import check_image_files
from .messages import warn


def check_label_maps(dataset: dict, loader: str, scope: str) -> None:
    """Check that images and their label maps exist and are not cut off.

    Args:
        dataset (dict): Config of the dataset.
        loader (str): Name of the data loader, for messages.
        scope (str): Default scope of the run's config.

    Raises:
        FileNotFoundError: If a folder is missing or empty, or files are missing.
        ValueError: If files are damaged.
    """
    init_default_scope(scope)
    root, prefix = dataset.get('data_root') or '', dataset['data_prefix']
    for folder in (Path(root, prefix['img_path']), Path(root, prefix['seg_map_path'])):
        if not folder.is_dir():
            raise FileNotFoundError(f'{loader}: there is no folder {folder}')
    listing = DATASETS.build(dict(dataset, pipeline=[], lazy_init=True))
    infos = listing.load_data_list()
    if not infos:
        raise FileNotFoundError(f'{loader}: there are no images in {Path(root, prefix["img_path"])}')
    check_image_files((Path(info['img_path']) for info in infos), loader, 'images')
    maps = {Path(info['seg_map_path']) for info in infos}
    check_image_files(maps, loader, 'label maps')
    if not dataset.get('ann_file'):
        # other files may lie beside the label maps, as in Cityscapes
        beside = (path for folder in {path.parent for path in maps} for path in folder.iterdir())
        lone = sorted(path for path in beside if path.name.endswith(listing.seg_map_suffix) and path not in maps)
        warn(loader, lone, 'label maps have no image')
