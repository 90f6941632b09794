"""Reading checkpoint files without running code that they may hold."""

import os
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import get_object_from_string

from .published import explain_checkpoint


def read_checkpoint(path: str | Path, map_location: Any = 'cpu', allow: Sequence[str] = ()) -> dict:
    """Read a checkpoint without running code that it may hold.

    Args:
        path (str | Path): A ``.safetensors`` file or one of ``torch.save``.
        map_location: As in ``torch.load``. Defaults to ``'cpu'``.
        allow (Sequence[str]): Full names of types that the file may hold beside
            tensors, NumPy arrays and plain Python values, such as
            ``'argparse.Namespace'``. If a type is a subclass of dict, or its
            package is not installed, its values are read as ``OrderedDict``,
            with their other state as attributes. Defaults to ().

    Returns:
        dict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or holds a type that is not allowed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        hint = explain_checkpoint(path)
        raise FileNotFoundError(f'there is no checkpoint file {path}' + (f'. {hint}' if hint else ''))
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
                reason = 'torch.save has not written it'
            raise ValueError(f'{path} is damaged or not a checkpoint: {reason}') from error
        raise ValueError(
            f'{path} was not opened, because it holds {refused[1] or refused[2]} beside tensors and plain values. '
            'If you trust that type, allow just that type by its full name: with --allow of the converters, '
            'allow= of vil_mm.engine.checkpoint.read_checkpoint, or torch.serialization.add_safe_globals.'
        ) from error


def use_safe_checkpoint_loading() -> None:
    """Make mmengine refuse checkpoints that hold code, wherever they come from.

    If a file holds more than plain values, mmengine's own loaders fall back to
    running its code. What mmengine itself writes (history buffers, NumPy
    values) stays allowed.
    """
    # the environment variable outranks the argument that the fallback sets
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    torch.serialization.add_safe_globals([*_numpy_globals(), *_history_globals()])
    CheckpointLoader.register_scheme(prefixes='', loader=read_checkpoint, force=True)


def _named_type(name: str) -> Any:
    """Find the type of a full name, or what stands in for it."""
    found = get_object_from_string(name)
    package = name.partition('.')[0]
    if found is None and package != name and find_spec(package) is None:
        return OrderedDict
    if found is None:
        raise ValueError(f'allow={name!r} must be the full name of a type that can be imported')
    # torch fills no other subclasses of dict
    return OrderedDict if isinstance(found, type) and issubclass(found, dict) else found


def _numpy_globals() -> list:
    """List what ``torch.load`` must know to read NumPy arrays and scalars, under NumPy's old and new names."""
    multiarray = (np._core if hasattr(np, '_core') else np.core).multiarray
    kinds = 'float64', 'float32', 'int64', 'int32', 'uint32', 'bool'
    known = [np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in kinds}]
    for function in (multiarray._reconstruct, multiarray.scalar):
        known += [(function, f'numpy.{core}.multiarray.{function.__name__}') for core in ('_core', 'core')]
    return known


def _history_globals() -> list:
    """List what ``torch.load`` must know to read the log history in a checkpoint of mmengine's runner."""
    return [HistoryBuffer, (_history_buffer_method, 'builtins.getattr')]


def _history_buffer_method(owner: Any, name: str) -> Callable:
    """Stand in for the ``getattr`` that a pickled history buffer names its methods with."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(f'Refused: getattr of {name!r}')
    return getattr(owner, name)
