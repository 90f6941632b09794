"""Classes of a dataset as its config declares them."""

import difflib
from pathlib import Path

from mmengine.fileio import list_from_file

from .configured import Configured


def class_names(dataset: Configured) -> list[str] | None:
    """List the names of a dataset's classes, in the order of their labels, as its config or its class declares them.

    Args:
        dataset (Configured): The dataset.

    Returns:
        list[str] | None: The names; None if none are declared.

    Raises:
        FileNotFoundError: If ``classes`` is the path of a file that does not exist.
        ValueError: If ``metainfo`` names them under another key, or they are
            neither a list of names nor a file of them.
    """
    config, where = dataset.config, dataset.where
    metainfo = config.get('metainfo') or {}
    for key in metainfo:
        if key != 'classes' and difflib.get_close_matches(key.lower(), ['classes'], 1, 0.8):
            raise ValueError(f'{where}: metainfo={{{key!r}: ...}} is not read: write metainfo=dict(classes=...)')
    classes = metainfo.get('classes', config.get('classes', getattr(dataset.kind, 'METAINFO', {}).get('classes')))
    if classes is None:
        return None
    if isinstance(classes, str):
        if not Path(classes).is_file():
            if Path(classes).suffix or '/' in classes:
                raise FileNotFoundError(f'{where}: there is no file of names classes={classes!r}')
            raise ValueError(
                f'{where}: classes={classes!r} must be a list of names, or a file with one name per line: '
                f'a single class is classes=[{classes!r}]'
            )
        classes = list_from_file(classes)
    if not isinstance(classes, (list, tuple)):
        raise ValueError(f'{where}: classes={classes!r} must be a list or a tuple of names')
    return list(classes)
