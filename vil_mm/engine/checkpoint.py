"""Reading checkpoint files: their code never runs, and damaged ones are told from whole ones."""

import logging
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
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
        allow (Sequence[str]): Full names of types that the file may hold beside
            tensors, NumPy arrays and plain Python values, such as
            ``'argparse.Namespace'``. Where a type is a kind of dict, or of a
            package that is not installed, the file's content comes in an
            ``OrderedDict``: its items, and its other state as attributes.
            Defaults to none.

    Returns:
        dict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds a type that is not allowed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'there is no checkpoint file {path}')
    allowed = _numpy_globals()
    allowed += [(_named_type(name), name) for name in allow]
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            return load_file(path, device=str(map_location))
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # the readers raise many kinds on damaged files
        refused = re.search(r'GLOBAL ([\w.]+)|Refused: (.+)', str(error))
        if not isinstance(error, pickle.UnpicklingError) or refused is None:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if isinstance(error, pickle.UnpicklingError):
                reason = 'it is no file of torch.save'
            raise ValueError(f'{path} is damaged or no checkpoint: {reason}') from error
        raise ValueError(
            f'{path} holds {refused[1] or refused[2]} beside tensors and plain values, and so was not opened. '
            'If you trust that type, allow it alone by its full name: --allow of the converters, '
            'allow= of vil_mm.engine.checkpoint.read_checkpoint, or torch.serialization.add_safe_globals.'
        ) from error


def use_safe_checkpoint_loading() -> None:
    """Make mmengine refuse checkpoints that hold code, wherever they come from.

    Its own loaders, when a file is not plain, fall back to running it. What
    mmengine itself writes (history buffers, NumPy values) stays allowed.
    """
    # The environment variable outranks the argument that the fall-back sets.
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    torch.serialization.add_safe_globals([*_numpy_globals(), *_history_globals()])
    CheckpointLoader.register_scheme(prefixes='', loader=read_checkpoint, force=True)


def _named_type(name: str) -> Any:
    """The type of a full name, or what stands in for it."""
    found = get_object_from_string(name)
    package = name.partition('.')[0]
    if found is None and package != name and find_spec(package) is None:
        return OrderedDict
    if found is None:
        raise ValueError(f'allow={name!r} names nothing that can be imported')
    # torch fills no other kinds of dict
    return OrderedDict if isinstance(found, type) and issubclass(found, dict) else found


def _numpy_globals() -> list:
    """What ``torch.load`` must know to read NumPy arrays and scalars, under NumPy's old and new names."""
    multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray
    kinds = 'float64', 'float32', 'int64', 'int32', 'uint32', 'bool'
    known = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]
    for function in (multiarray._reconstruct, multiarray.scalar):
        known += [(function, f'numpy.{core}.multiarray.{function.__name__}') for core in ('_core', 'core')]
    return known


def _history_globals() -> list:
    """What ``torch.load`` must know to read the log history in a checkpoint of mmengine's runner."""
    return [HistoryBuffer, (_history_buffer_method, 'builtins.getattr')]


def _history_buffer_method(owner: Any, name: str) -> Callable:
    """Stand in for the ``getattr`` that a pickled history buffer names its methods with."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'Refused: getattr of {name!r}')
    return getattr(owner, name)


def is_whole(path: Path) -> bool:
    """Whether a file of ``torch.save`` is complete and its check sums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged directory makes zipfile raise errors of many kinds
        return False


def find_latest_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the newest whole checkpoint of a run.

    A run that was killed while it wrote may leave a truncated file; that one
    is skipped with a warning.

    Args:
        work_dir (str | Path): The run's folder. Checkpoints are in it, or where
            its file ``last_checkpoint`` says.

    Returns:
        Path | None: The checkpoint; None if there is none at all.

    Raises:
        ValueError: If there are checkpoints but none is whole, or they are
            FSDP's folders of shards.
    """
    last = Path(work_dir, 'last_checkpoint')
    folders = [Path(last.read_text().strip()).parent] if last.is_file() else []
    found = {}
    for path in (path for folder in (*folders, Path(work_dir)) for path in folder.glob('*.pth')):
        match = re.fullmatch(r'(?:epoch|iter)_(\d+)\.pth', path.name)
        if match:
            found[int(match[1])] = path
        if match and path.is_dir():
            raise ValueError(f'{path} is a folder of shards, as FSDP writes: the tools cannot resume from it')
    for _, path in sorted(found.items(), reverse=True):
        if is_whole(path):
            return path
        print_log(f'{path} is damaged and was skipped: resuming from the one before it', 'current', logging.WARNING)
    if found:
        raise ValueError(f'none of the checkpoints in {work_dir} is whole: {[path.name for path in found.values()]}')
    return None
