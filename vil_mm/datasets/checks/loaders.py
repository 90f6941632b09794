"""The datasets of data loaders, each checked by its format."""

import os
from collections.abc import Sequence

from mmengine.config import Config

from .class_folders import check_class_folders
from .coco import check_coco
from .label_maps import check_label_maps

#: Environment variables by which launchers tell a process its rank.
RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


def check_data(cfg: Config, loaders: Sequence[str]) -> None:
    """Check the datasets of the given loaders, in the first process of a run.

    The formats are COCO's annotations, label maps, and folders of classes.
    Datasets in other formats, and those that are not in local files, pass.

    Args:
        cfg (Config): The config.
        loaders (Sequence[str]): Names of the data loaders that will be used,
            such as ``'train_dataloader'``.

    Raises:
        FileNotFoundError: If folders are empty or files are missing. It names
            the first of them.
        ValueError: If image files are damaged, or annotations do not fit.
    """
    if any(os.environ.get(name, '0') != '0' for name in RANKS):
        return
    for loader in loaders:
        for dataset in innermost((cfg.get(loader) or {}).get('dataset') or {}):
            if is_remote(dataset):
                continue
            kind = str(dataset.get('type')).split('.')[-1]
            if kind in ('ImageNet', 'CustomDataset'):
                check_class_folders(dataset, loader)
            elif kind == 'CocoDataset':
                check_coco(dataset, loader)
            elif 'seg_map_path' in (dataset.get('data_prefix') or {}):
                check_label_maps(dataset, loader, cfg.default_scope)


def innermost(dataset: dict) -> list[dict]:
    """List the datasets that a dataset concatenates, repeats or mixes, or itself if it is a plain one."""
    inner = dataset.get('datasets') or ([dataset['dataset']] if 'dataset' in dataset else [])
    return [deepest for one in inner for deepest in innermost(one)] or [dataset]


def is_remote(dataset: dict) -> bool:
    """Tell whether the files are elsewhere than in this machine's folders."""
    prefix = dataset.get('data_prefix') or {}
    places = [dataset.get('data_root'), dataset.get('ann_file'), *(prefix.values() if isinstance(prefix, dict) else [])]
    backend = (dataset.get('backend_args') or {}).get('backend', 'local')
    return backend != 'local' or any('://' in str(place) for place in places)
