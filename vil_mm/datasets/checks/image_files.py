"""Image files, checked by their first and last bytes."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mmcv

from .messages import some

PNG, JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8'
ENDS = {PNG: b'IEND', JPEG: b'\xff\xd9'}


def check_image_files(paths: Iterable[Path], loader: str, kind: str) -> None:
    """Check that image files exist and are not cut off.

    Args:
        paths (Iterable[Path]): The files.
        loader (str): Name of the data loader, for messages.
        kind (str): What they are, in the plural, for messages.

    Raises:
        FileNotFoundError: If some are missing.
        ValueError: If some are damaged.
    """
    paths = list(paths)
    with ThreadPoolExecutor(16) as pool:
        states = list(pool.map(find_state, paths))
    for error, state in ((FileNotFoundError, 'missing'), (ValueError, 'damaged')):
        found = [path for path, is_ in zip(paths, states) if is_ == state]
        if found:
            raise error(f'{loader}: {len(found)} of {len(paths)} {kind} are {state}; {some(found)}')


def find_state(path: Path) -> str:
    """Tell whether an image file is missing, damaged or whole, without decoding it if possible.

    Args:
        path (Path): The file.

    Returns:
        str: ``'missing'``, ``'damaged'`` or ``'whole'``. Formats other than PNG
        and JPEG count as whole.
    """
    try:
        with path.open('rb') as file:
            start = file.read(8)
            file.seek(-min(64, file.seek(0, os.SEEK_END)), os.SEEK_END)
            end = file.read()
    except OSError:
        return 'missing'
    known = next((format_ for format_ in ENDS if start.startswith(format_)), None)
    if known is None and start and path.suffix.lower() not in ('.png', '.jpg', '.jpeg'):
        return 'whole'
    if known and ENDS[known] in end:
        return 'whole'
    # cut off, of another format than its name says, or with bytes after its end, which readers accept
    content = path.read_bytes()
    return 'whole' if content and mmcv.imfrombytes(content, flag='unchanged') is not None else 'damaged'
