"""The datasets of data loaders, each checked by its format.

:func:`find_datasets` first lists all of them as :class:`Configured` objects
(data loader, config, class). A check gets all datasets of its format at once,
so that it can compare them, for example the training datasets with the
validation datasets or with the evaluator's. Last, the model's heads are
compared with the classes of all of them.
"""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.logging import print_log

from ...arguments import Name, check_arguments
from ...engine.work_dir import is_first_process
from .class_folders import check_class_folders, holds_class_folders
from .coco import check_coco
from .configured import find_datasets, is_remote
from .label_maps import check_label_maps, holds_label_maps
from .num_classes import check_num_classes


@check_arguments
def check_data(cfg: Config, loaders: Sequence[Name]) -> None:
    """Check the datasets of the given loaders, in the first process of a run that begins, not of one that resumes.

    The formats are COCO's annotations, label maps, and folders of classes.
    Datasets in other formats, or that are not stored in local files, are not
    checked.

    Args:
        cfg (Config): The config.
        loaders (Sequence[str]): Names of the data loaders that will be used,
            such as ``'train_dataloader'``.

    Raises:
        FileNotFoundError: If folders are empty or files are missing. The
            message names the first of them.
        ValueError: If image files are damaged, annotations do not fit the
            images, or datasets, metrics and model differ in their classes.
    """
    if not is_first_process():
        return
    if cfg.get('resume') and cfg.get('load_from'):
        print_log(f'the data are not checked again: resuming from {cfg.load_from}')
        return
    datasets = find_datasets(cfg, loaders)
    local = [dataset for dataset in datasets if not is_remote(dataset.config)]
    check_class_folders(list(filter(holds_class_folders, local)), cfg)
    check_label_maps(list(filter(holds_label_maps, local)), cfg)
    check_coco(datasets, cfg)
    check_num_classes(local, cfg)
