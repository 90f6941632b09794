"""The optional libraries, and which extra installs them."""

from importlib import import_module
from types import ModuleType

#: Import name to the extras that bring it.
EXTRAS = {
    'mmengine': ('cls', 'det', 'seg'),
    'mmcv': ('cls', 'det', 'seg'),
    'mmpretrain': ('cls',),
    'mmdet': ('det',),
    'mmseg': ('seg',),
}


def require(name: str) -> ModuleType:
    """Import an optional library.

    Args:
        name (str): A key of ``EXTRAS``.

    Raises:
        ImportError: If it is not installed; the message names the extra.
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        choices = ' or '.join(f'"vil_mm[{extra}]"' for extra in EXTRAS[name])
        raise ImportError(f'{name} is not installed. Install it with: pip install {choices}', name=name) from error
