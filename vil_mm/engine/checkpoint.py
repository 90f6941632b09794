"""Reading checkpoint files without running code that they may hold, and writing them whole."""

import mmap
import os
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
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

#: What tensors may be that cannot be loaded into a model, and how to tell.
PECULIARITIES: dict[str, Callable[[Tensor], bool]] = {
    'nested': lambda tensor: tensor.is_nested,
    'sparse': lambda tensor: tensor.layout is not torch.strided,
    'quantized': lambda tensor: tensor.is_quantized,
    'on the meta device, without values': lambda tensor: tensor.is_meta,
}


def read_checkpoint(path: str | Path, map_location: Any = 'cpu', allow: Sequence[str] = ()) -> dict:
    """Read a checkpoint without running code that it may hold.

    Check sums are compared where the file has them: those of ``torch.save``'s
    archives, and the digest that the converters write. What a file claims to
    hold must not be larger than the file.

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
        CheckpointError: If it is damaged, holds a type that is not allowed, or
            is no dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        hint = explain_checkpoint(path)
        raise FileNotFoundError(f'there is no checkpoint file {path}' + (f'. {hint}' if hint else ''))
    allowed = [*_numpy_globals(), *_history_globals(), *((_named_type(name), name) for name in allow)]
    # what the context manager adds, it removes in the end, even if it was there before
    allowed = [one for one in allowed if one not in torch.serialization.get_safe_globals()]
    checkpoint: Any
    try:
        if path.suffix == '.safetensors':
            checkpoint, expected = _read_safetensors(path, map_location)
        else:
            _check_file(path)
            with torch.serialization.safe_globals(allowed):
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
            'If you trust that type, allow just that type by its full name: with --allow of the converters, '
            'allow= of vil_mm.engine.checkpoint.read_checkpoint, or torch.serialization.add_safe_globals.'
        ) from error
    _check_entries(checkpoint, path)
    expected = expected or (checkpoint.get('meta') or {}).get(DIGEST)
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
    # the environment variable outranks the argument that the fallback sets
    os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'
    torch.serialization.add_safe_globals([*_numpy_globals(), *_history_globals()])
    register_loader()


def register_loader() -> None:
    """Make mmengine read local checkpoints with :func:`read_checkpoint`."""
    CheckpointLoader.register_scheme(prefixes='', loader=_read_for_mmengine, force=True)


def _read_for_mmengine(path: str, map_location: Any = 'cpu') -> dict:
    """Read a checkpoint, whose tensors some hooks of mmengine expect under ``'state_dict'``."""
    checkpoint = read_checkpoint(path, map_location)
    if 'state_dict' not in checkpoint and all(isinstance(value, Tensor) for value in checkpoint.values()):
        checkpoint = dict(state_dict=checkpoint)
    checkpoint = OrderedDict((name, value) for name, value in checkpoint.items() if value is not None or name != 'meta')
    vars(checkpoint)['path'] = path  # for messages; a plain dict takes no attributes
    return checkpoint


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
