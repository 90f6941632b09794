"""Folders of images, one per class."""

from pathlib import Path


def check_class_folders(dataset: dict, loader: str) -> None:
    """Check that the folders hold images, unless a list says which images there are.

    Args:
        dataset (dict): Config of the dataset.
        loader (str): Name of the data loader, for messages.

    Raises:
        FileNotFoundError: If there are no images.
    """
    root, split, prefix = (dataset.get(key) or '' for key in ('data_root', 'split', 'data_prefix'))
    prefix = prefix.get('img_path', '') if isinstance(prefix, dict) else prefix
    if dataset.get('ann_file') or not dataset.get('with_label', True):
        return
    folder = Path(root, prefix or split)
    if (split and Path(root, 'meta', f'{split}.txt').is_file()) or not root:
        return
    if next(folder.glob('*/*'), None) is None:
        raise FileNotFoundError(f'{loader}: there are no images in {folder}, which must hold <class>/<image>')
