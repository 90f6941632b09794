"""The optional libraries, and the extras that install them."""

from importlib import import_module
from types import ModuleType

#: The extras that install each library, by its import name.
EXTRAS = {
    'mmengine': ('cls', 'det', 'seg'),
    'mmcv': ('cls', 'det', 'seg'),
    'mmpretrain': ('cls',),
    'mmdet': ('det',),
    'mmseg': ('seg',),
    'tensorboard': ('tensorboard',),
    'timm': ('timm',),
}


def require(name: str) -> ModuleType:
    """Import an optional library.

    Args:
        name (str): Its import name, a key of ``EXTRAS``.

    Returns:
        ModuleType: The library.

    Raises:
        ImportError: If it is not installed. The message names the extra.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        choices = ' or '.join(f'"vil_mm[{extra}]"' for extra in EXTRAS[name])
        raise ImportError(f'{name} is not installed. Install it with: pip install {choices}', name=name) from error
