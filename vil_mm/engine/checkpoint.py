"""Reading checkpoint files without running code that they may hold, and writing them whole."""

import mmap
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import wraps
from importlib.util import find_spec
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.utils import get_object_from_string
from torch import Tensor

from ..models.layers import CheckpointError
from .digest import DIGEST, digest
from .published import explain_checkpoint

#: What the entries that OpenMMLab's checkpoints have must be, where they are not None.
ENTRIES: dict[str, Any] = {
    'ema_state_dict': Mapping,
    'optimizer': Mapping,
    'message_hub': Mapping,
    'param_schedulers': (list, Mapping),
    'meta': Mapping,
    'meta.epoch': int,
    'meta.iter': int,
    'meta.dataset_meta': Mapping,
    f'meta.{DIGEST}': str,
}
KIND_NAMES = {Mapping: 'a dict', int: 'an integer', str: 'a string', (list, Mapping): 'a list or a dict'}

#: Environment variables that outrank the argument of ``torch.load`` which decides whether a file's code may run.
ALWAYS, NEVER = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'

#: What tensors may be that cannot be loaded into a model, and how to tell.
PECULIARITIES: dict[str, Callable[[Tensor], bool]] = {
    'nested': lambda tensor: tensor.is_nested,
    'sparse': lambda tensor: tensor.layout is not torch.strided,
    'quantized': lambda tensor: tensor.is_quantized,
    'on the meta device, without values': lambda tensor: tensor.is_meta,
}


class Kept:
    """What a file holds of a value of an allowed type: its state, as attributes.

    Args:
        *args: What the value would be built from.
    """

    def __init__(self, *args: Any) -> None:
        self.args = args


def read_checkpoint(path: str | Path, map_location: Any = 'cpu', allow: Sequence[str] = ()) -> dict:
    """Read a checkpoint without running code that it may hold.

    Check sums are compared where the file has them: those of ``torch.save``'s
    archives, and the digest that the converters write. What a file claims to
    hold must not be larger than the file.

    Args:
        path (str | Path): A ``.safetensors`` file or one of ``torch.save``.
        map_location: As in ``torch.load``; for a ``.safetensors`` file, a
            device or None, which means the CPU. Defaults to ``'cpu'``.
        allow (Sequence[str]): Full names of types that the file may hold beside
            tensors, NumPy arrays and plain Python values, such as
            ``'argparse.Namespace'``. No code of theirs runs: their values are
            read as :class:`Kept`, or as ``OrderedDict`` if a type is a subclass
            of dict or its package is not installed, with their state as
            attributes. Defaults to ().

    Returns:
        dict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, holds a type that is not allowed, or
            is no dict.
        ValueError: If ``allow`` or ``map_location`` is none of these.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        hint = explain_checkpoint(path)
        raise FileNotFoundError(f'there is no checkpoint file {path}' + (f'. {hint}' if hint else ''))
    allowed = [(_stand_in(name), name) for name in allow]
    is_safetensors = path.suffix == '.safetensors'
    if is_safetensors and not isinstance(map_location, (str, torch.device, NoneType)):
        raise ValueError(f'map_location={map_location!r} must be a device or None for the .safetensors file {path}')
    checkpoint: Any
    try:
        if is_safetensors:
            checkpoint, expected = _read_safetensors(path, map_location or 'cpu')
        else:
            _check_file(path)
            with _safe_globals(allowed):
                checkpoint = torch.load(path, map_location=map_location, weights_only=True)
            expected = None
    except Exception as error:  # the readers raise many kinds on damaged files
        refused = re.search(r'GLOBAL ([\w.]+)|Refused: (.+)', str(error))
        if not isinstance(error, pickle.UnpicklingError) or refused is None:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            if isinstance(error, pickle.UnpicklingError):
                reason = 'torch.save has not written it'
            raise CheckpointError(f'{path} is damaged or not a checkpoint: {reason}') from error
        raise CheckpointError(
            f'{path} was not opened, because it holds {refused[1] or refused[2]} beside tensors and plain values. '
            'If that is a type, allow just that type by its full name, with --allow of the converters or allow= of '
            'vil_mm.engine.checkpoint.read_checkpoint: its values are kept, and none of its code runs.'
        ) from error
    _check_entries(checkpoint, path)
    if 'state_dict' in checkpoint:
        expected = (checkpoint.get('meta') or {}).get(DIGEST)
    if expected and digest(checkpoint.get('state_dict', checkpoint)) != expected:
        raise CheckpointError(
            f'{path} is damaged: the SHA-256 of its tensors is not the one that was written with them. If they were '
            f"changed on purpose, remove {DIGEST!r} from the file's meta"
        )
    return checkpoint


def write_checkpoint(checkpoint: dict, path: str | Path) -> None:
    """Write tensors and ``meta`` with a digest that :func:`read_checkpoint` compares, all of it or nothing.

    Args:
        checkpoint (dict): ``state_dict``, the tensors, and ``meta``.
        path (str | Path): The file. If its name ends in ``.safetensors``, it is
            written in that format, with the values of ``meta`` as strings.
    """
    path = Path(path).expanduser()
    meta = {**checkpoint['meta'], DIGEST: digest(checkpoint['state_dict'])}
    part = path.with_name(f'.{os.getpid()}-{path.name}')
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import save_file

            # which share no memory, as the format has it
            tensors = {name: tensor.contiguous().clone() for name, tensor in checkpoint['state_dict'].items()}
            save_file(tensors, part, metadata={name: str(value) for name, value in meta.items()})
        else:
            torch.save({**checkpoint, 'meta': meta}, part)
        read_checkpoint(part)  # what is on the disk is what was written
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def state_dict_of(checkpoint: Mapping, path: str | Path) -> dict[str, Tensor]:
    """Find the tensors in what :func:`read_checkpoint` returns.

    Args:
        checkpoint (Mapping): Tensors by name, or a dict with them under
            ``'state_dict'``.
        path (str | Path): The file, for messages.

    Returns:
        dict[str, Tensor]: The tensors by name, without ``module.`` before all
        names, as parallel training writes it.

    Raises:
        CheckpointError: If there are none, or others than plain tensors.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    where = " under 'state_dict'" if 'state_dict' in checkpoint else ''
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(f'{path} must hold tensors by name{where}, but holds {_describe(state_dict)} there')
    for name, tensor in state_dict.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            hint = ''
            if not where and isinstance(tensor, Mapping):
                hint = (
                    ". If it is a published file, convert it first, see tools/model_converters; if it holds a model's "
                    "tensors, save them under 'state_dict'"
                )
            raise CheckpointError(f'{path} must hold tensors by name{where}, but {name!r} is {_describe(tensor)}{hint}')
        kind = next((kind for kind, has in PECULIARITIES.items() if has(tensor)), None)
        if kind:
            raise CheckpointError(f'{path} must hold plain tensors, but {name!r} is {kind}')
    if not state_dict:
        raise CheckpointError(f'{path} holds no tensors{where}')
    if all(name.startswith('module.') for name in state_dict):
        return {name.removeprefix('module.'): tensor for name, tensor in state_dict.items()}
    return dict(state_dict)


def use_safe_checkpoint_loading() -> None:
    """Make mmengine refuse checkpoints that hold code, wherever they come from.

    If a file holds more than plain values, mmengine's own loaders fall back to
    running its code. What mmengine itself writes (history buffers, NumPy
    values) stays allowed.
    """
    # mmengine's fallback sets the argument of torch.load
    os.environ.pop(NEVER, None)
    os.environ[ALWAYS] = '1'
    torch.serialization.add_safe_globals([*_numpy_globals(), *_history_globals()])
    register_loader()


def register_loader() -> None:
    """Make mmengine read local checkpoints with :func:`read_checkpoint`, and run no code of those from elsewhere."""
    for prefix, load in list(CheckpointLoader._schemes.items()):
        if prefix and not hasattr(load, '__wrapped__'):
            CheckpointLoader.register_scheme(prefixes=prefix, loader=_without_code(load), force=True)
    CheckpointLoader.register_scheme(prefixes='', loader=_read_for_mmengine, force=True)


def _read_for_mmengine(path: str, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint, whose tensors some hooks of mmengine expect under ``'state_dict'``."""
    checkpoint = read_checkpoint(path, map_location)
    if 'state_dict' not in checkpoint and all(isinstance(value, Tensor) for value in checkpoint.values()):
        checkpoint = dict(state_dict=checkpoint)
    checkpoint = OrderedDict((name, value) for name, value in checkpoint.items() if value is not None or name != 'meta')
    vars(checkpoint)['path'] = path  # for messages; a plain dict takes no attributes
    return checkpoint


def _without_code(load: Callable) -> Callable:
    """Make a loader of mmengine run no code of the files that it loads."""

    @wraps(load)
    def load_safely(*args, **kwargs) -> Any:
        before = {name: os.environ.pop(name, None) for name in (ALWAYS, NEVER)}
        os.environ[ALWAYS] = '1'
        try:
            with _safe_globals():
                return load(*args, **kwargs)
        finally:
            del os.environ[ALWAYS]
            os.environ.update({name: value for name, value in before.items() if value is not None})

    return load_safely


def _safe_globals(more: Sequence[tuple[type, str]] = ()) -> AbstractContextManager:
    """Let ``torch.load`` read what mmengine writes, and more, without running code."""
    known = torch.serialization.get_safe_globals()  # which the context manager would remove in the end
    wanted = [*_numpy_globals(), *_history_globals(), *more]
    return torch.serialization.safe_globals([one for one in wanted if one not in known])


def _read_safetensors(path: Path, map_location: Any) -> tuple[dict[str, Tensor], str | None]:
    """Read tensors, and the digest that was written with them."""
    from safetensors import safe_open

    with safe_open(path, 'pt', device=str(map_location)) as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}, (file.metadata() or {}).get(DIGEST)


def _check_file(path: Path) -> None:
    """Check what can be told of a file of ``torch.save`` before it is unpickled.

    Raises:
        ValueError: If a part is damaged, or reading would take far more memory
            than the file is large.
    """
    with open(path, 'rb') as file:
        if file.read(4) != b'PK\3\4':  # not an archive, but the format before PyTorch 1.6
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _check_pickle(data)
            return
        size = os.fstat(file.fileno()).st_size
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            claimed = sum(entry.file_size for entry in entries)
            if claimed > size:
                raise ValueError(f'its parts claim {claimed} bytes, but the file has {size}')
            if len(set(archive.namelist())) < len(entries):
                raise ValueError('two of its parts have the same name')
            damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f'the check sum of its part {damaged!r} is wrong')
            for entry in entries:
                if entry.filename.endswith('/data.pkl'):
                    _check_pickle(archive.read(entry))


def _check_pickle(data: bytes | mmap.mmap) -> None:
    """Refuse the only type that can fill any amount of memory from a number."""
    if data.find(b'\nbytearray\n') >= 0:
        raise pickle.UnpicklingError('Refused: builtins.bytearray')


def _check_entries(checkpoint: Any, path: Path) -> None:
    """Check the kinds of what a file holds.

    Raises:
        CheckpointError: If one is of another kind.
    """
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(
            f"{path} must hold tensors by name, or a dict with them under 'state_dict', but holds "
            f'{_describe(checkpoint)}'
        )
    if 'state_dict' in checkpoint:
        state_dict_of(checkpoint, path)
        for name, kind in ENTRIES.items():
            parts = name.split('.')
            value = checkpoint
            for part in parts:
                value = (value or {}).get(part)
            if value is not None and not isinstance(value, kind):
                raise CheckpointError(f'{path}: {name!r} must be {KIND_NAMES[kind]}, but is {_describe(value)}')
    size, excess = path.stat().st_size, 0
    for name, tensor in _tensors(checkpoint, ''):
        if not any(has(tensor) for has in PECULIARITIES.values()):
            excess += max(0, tensor.numel() * tensor.element_size() - tensor.untyped_storage().nbytes())
            if excess > size:
                raise CheckpointError(
                    f'{path} is damaged: with {name} of shape {tuple(tensor.shape)}, its tensors claim far more values '
                    f'than its {size} bytes hold'
                )


def _tensors(node: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """List the tensors within what a file holds, with their places."""
    if isinstance(node, Tensor):
        yield name, node
    elif isinstance(node, (Mapping, list, tuple)):
        for key, inner in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _tensors(inner, f'{name}.{key}' if name else str(key))


def _describe(value: Any) -> str:
    """Say what a value is, in a few words."""
    if value is None:
        return 'None'
    if isinstance(value, Tensor):
        return f'a tensor of shape {tuple(value.shape)}'
    if isinstance(value, Mapping):
        return f'a dict of {", ".join(map(repr, list(value)[:3])) or "nothing"}'
    return f'a value of type {type(value).__name__}'


def _stand_in(name: str) -> type:
    """Find what the values of a type are read as."""
    found = get_object_from_string(name)
    package = name.partition('.')[0]
    if found is None and package != name and find_spec(package) is None:
        return OrderedDict
    if not isinstance(found, type):
        raise ValueError(f'allow={name!r} must be the full name of a type that can be imported')
    # torch fills no other subclasses of dict
    return OrderedDict if issubclass(found, dict) else Kept


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
