"""Reading checkpoint files: their code never runs, and damaged ones are told from whole ones."""

import logging
import pickle
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, print_log
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import get_object_from_string


def read_checkpoint(path: str | Path, map_location: Any = 'cpu', allow: Sequence[str] = ()) -> dict:
    """Read a checkpoint without running code that it may hold.

    Args:
        path (str | Path): A ``.safetensors`` file or one of ``torch.save``.
        map_location: As in ``torch.load``. Defaults to ``'cpu'``.
        allow (Sequence[str]): Full names of types, beyond tensors and plain
            Python values, that the file may hold, such as
            ``'argparse.Namespace'``. Defaults to none.

    Returns:
        dict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds a type that is not allowed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint file {path}')
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path)
    allowed = []
    for name in allow:
        allowed.append(get_object_from_string(name))
        if allowed[-1] is None:
            raise ValueError(f'allow={name!r} names nothing that can be imported')
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        # The first line is torch's advice to run the code after all.
        cause = ' '.join(str(error).partition('\n')[2].split()).partition(' Check the documentation')[0]
        raise ValueError(
            f'{path} holds more than tensors and plain values, and so was not opened: {cause} '
            'If you trust that type, allow it alone by its full name (--allow module.Type, or '
            "read_checkpoint(allow=['module.Type'])). Never allow a function."
        ) from error
    except (RuntimeError, EOFError) as error:
        raise ValueError(f'{path} is damaged or no checkpoint: {str(error).splitlines()[0]}') from error


def use_safe_checkpoint_loading() -> None:
    """Make mmengine refuse local checkpoint files that hold code.

    Its own loader, when a file is not plain, falls back to running it. What
    mmengine itself writes (history buffers, NumPy values) stays allowed.
    """

    def load(filename: str, map_location: Any) -> dict:
        with torch.serialization.safe_globals(_written_by_mmengine()):
            return read_checkpoint(filename, map_location)

    CheckpointLoader.register_scheme(prefixes='', loader=load, force=True)


def _written_by_mmengine() -> list:
    """What ``torch.load`` must know to read the log history in a checkpoint of mmengine's runner."""
    multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray
    dtypes = {type(np.dtype(kind)) for kind in ('float64', 'float32', 'int64', 'int32', 'uint32', 'bool')}
    return [
        HistoryBuffer,
        (_history_buffer_method, 'builtins.getattr'),
        *(multiarray._reconstruct, multiarray.scalar, np.ndarray, np.dtype, *dtypes),
    ]


def _history_buffer_method(owner: Any, name: str) -> Callable:
    """Stand in for the ``getattr`` that a pickled history buffer names its methods with."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f"Refused:\ngetattr of {name!r}, which is no method of mmengine's HistoryBuffer.")
    return getattr(owner, name)


def is_whole(path: Path) -> bool:
    """Whether a file of ``torch.save`` is complete and its check sums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, OSError, EOFError):
        return False


def find_latest_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the newest whole checkpoint of a run.

    A run that was killed while it wrote may leave a truncated file; that one
    is skipped with a warning.

    Args:
        work_dir (str | Path): The run's folder.

    Returns:
        Path | None: The checkpoint; None if there is none at all.

    Raises:
        ValueError: If there are checkpoints but none is whole.
    """
    found = [path for kind in ('epoch', 'iter') for path in Path(work_dir).glob(f'{kind}_*.pth')]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        if is_whole(path):
            return path
        print_log(f'{path} is damaged and was skipped: resuming from the one before it', 'current', logging.WARNING)
    if found:
        raise ValueError(f'none of the checkpoints in {work_dir} is whole: {[path.name for path in found]}')
    return None
