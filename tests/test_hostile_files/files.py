"""Files that are not what they should be: each is a sound checkpoint with one thing wrong."""

import gzip
import io
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

#: Writes a file, from what a sound file holds and the key that its tensors are under.
Write = Callable[[Path, dict, str], None]

FILES: dict[str, Write] = {}
#: Those that differ from a sound file only in ways that leave the tensors as they are.
HARMLESS: set[str] = set()
#: Those that hold what they should, but of which only the runs of mmengine use the rest.
FOR_RUNS: set[str] = set()


def to_bytes(content: Any, **kwargs) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **kwargs)
    return buffer.getvalue()


def add(name: str, make: Callable[[dict, str], bytes], into: set | None = None) -> None:
    """Add a file of the bytes that ``make`` returns."""
    assert name not in FILES
    FILES[name] = lambda path, content, key: path.write_bytes(make(content, key)) and None
    if into is not None:
        into.add(name)


def add_content(name: str, change: Callable[[dict, str], Any], into: set | None = None, **kwargs) -> None:
    """Add a file of ``torch.save`` with another content."""
    add(name, lambda content, key: to_bytes(change(content, key), **kwargs), into)


def add_state(name: str, change: Callable[[dict], Any], into: set | None = None) -> None:
    """Add a file with other tensors; what ``change`` does not return, it has changed in place."""

    def changed(content: dict, key: str) -> dict:
        state = dict(content[key])
        result = change(state)
        return {**content, key: state if result is None else result}

    add_content(name, changed, into)


def add_damaged(name: str, damage: Callable[[bytearray], Any], **kwargs) -> None:
    """Add a file whose bytes are damaged."""

    def damaged(content: dict, key: str) -> bytes:
        data = bytearray(to_bytes(content, **kwargs))
        result = damage(data)
        return bytes(data if result is None else result)

    add(name, damaged)


def rewrite(data: bytes, change: Callable[[zipfile.ZipInfo, bytes], bytes], **kwargs) -> bytes:
    """Write a zip archive again, with other contents of its parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, 'w', **kwargs) as target:
        for entry in source.infolist():
            target.writestr(entry.filename, change(entry, source.read(entry)))
    return buffer.getvalue()


def first(state: dict, ndim: int, last: bool = False) -> str:
    """The name of the first tensor of so many dimensions, or the last one."""
    names = [name for name, tensor in state.items() if tensor.ndim == ndim and tensor.is_floating_point()]
    return names[-1 if last else 0]


class Code:
    """Unpickling it would leave a mark."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ('/tmp/vil_mm-the-code-ran',)


add_content('sound', lambda content, key: content, HARMLESS)
add_content('old format', lambda content, key: content, HARMLESS, _use_new_zipfile_serialization=False)
add_content('other entries beside', lambda content, key: {**content, 'note': 'a', 'numbers': [1, 2.5, None]}, HARMLESS)
add_content('other entries in front', lambda content, key: {'note': 'a', **content}, HARMLESS)
add_state('names of parallel training', lambda state: {f'module.{n}': t for n, t in state.items()}, HARMLESS)
add_state('another order', lambda state: dict(reversed(state.items())), HARMLESS)
for dtype in (torch.float64, torch.float16, torch.bfloat16):
    add_state(f'all {dtype}', lambda s, d=dtype: {n: t.to(d) if t.is_floating_point() else t for n, t in s.items()},
              HARMLESS)  # fmt: skip

# kinds of content
for value in ([], [1], (), 'text', '', 0, 3.5, True, None, {}, {1, 2}, b'bytes', torch.ones(3), [torch.ones(3)]):
    name = f'{type(value).__name__} {value!r}'.replace('\n', '')
    add_content(f'holds {name}', lambda content, key, v=value: v)
    add_content(f'tensors are {name}', lambda content, key, v=value: {**content, key: v})
add_content('tensors under another key', lambda content, key: {'weights': content[key]})
add_content('tensors under two other keys', lambda content, key: {'model': {'a': content[key]}, 'ema': {}})
add_content('a whole file within', lambda content, key: {key: content})
add_content('tensors in a list', lambda content, key: {**content, key: list(content[key].items())})

# names
add_state('half is missing', lambda state: {n: state[n] for n in list(state)[::2]})
add_state('only the second half', lambda state: {n: state[n] for n in list(state)[len(state) // 2 :]})
add_state('one is missing', lambda state: {n: t for n, t in state.items() if n != first(state, 2)})
for place in (0, -1):
    add_state(f'name {place} is missing', lambda state, p=place: {n: t for n, t in state.items() if n != [*state][p]})
add_state('one too many', lambda state: state.update({'extra.weight': torch.ones(1)}))
add_state('one twice', lambda state: state.update({f'{first(state, 1)}_copy': state[first(state, 1)]}))
add_state('a block too many', lambda state: {**state, **{n.replace('.0.', '.7.'): t for n, t in state.items()}})
for prefix in ('encoder.', 'model.', 'backbone.backbone.', ' '):
    add_state(f'prefix {prefix!r}', lambda state, p=prefix: {p + n: t for n, t in state.items()})
add_state('half with a prefix', lambda s: {('module.' if i % 2 else '') + n: t for i, (n, t) in enumerate(s.items())})
add_state('upper case', lambda state: {n.upper(): t for n, t in state.items()})
add_state('names without dots', lambda state: {n.replace('.', '_'): t for n, t in state.items()})
add_state('names cut', lambda state: {n[:-1]: t for n, t in state.items()})
for key in (0, None, (1, 2), 2.5, True, b'name', ''):
    add_state(f'the name {key!r}', lambda state, k=key: state.update({k: torch.ones(1)}))

# values that are no tensors
for value in ([1.0, 2.0], None, 'text', 3, 2.5, {}, np.ones(2)):
    add_state(f'a value is {type(value).__name__}', lambda state, v=value: state.update({first(state, 2): v}))
add_state('all are lists', lambda state: {n: t.tolist() for n, t in state.items()})

# shapes
SHAPES = {
    'transposed': lambda t: t.movedim(0, -1).contiguous(),
    'flat': lambda t: t.flatten(),
    'scalar': lambda t: t.flatten()[0].clone(),
    'of size zero': lambda t: t[:0].clone(),
    'with one row more': lambda t: torch.cat([t, t[:1]]),
    'with one row less': lambda t: t[1:].clone(),
    'with one more dimension': lambda t: t[None],
    'repeated': lambda t: torch.cat([t, t]),
    'in 3x3': lambda t: t[..., None, None].repeat(*[1] * t.ndim, 3, 3),
}
for what, change in SHAPES.items():
    for ndim, last in ((4, False), (2, False), (1, False), (2, True), (1, True)):
        if ndim == 1 and what in ('transposed', 'flat'):
            continue

        def reshape(state: dict, change: Callable = change, ndim: int = ndim, last: bool = last) -> None:
            name = first(state, ndim, last)
            state[name] = change(state[name])

        add_state(f'{"last" if last else "first"} of {ndim} dimensions {what}', reshape)
add_state('all flat', lambda state: {n: t.flatten() for n, t in state.items()})
add_state('all scalars', lambda state: {n: t.flatten()[0].clone() for n, t in state.items()})
add_state('all empty', lambda state: {n: t.flatten()[:0].clone() for n, t in state.items()})
add_state('one claims a terabyte', lambda s: s.update({first(s, 2): torch.ones(1).expand(1 << 20, 1 << 20)}))

# types and layouts
TYPES = {
    **{str(d): lambda t, d=d: t.to(d) for d in (torch.int8, torch.uint8, torch.int64, torch.bool, torch.complex64)},
    **{str(d): lambda t, d=d: t.to(d) for d in (torch.float8_e4m3fn, torch.float8_e5m2)},
    'quantized': lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
    'sparse': lambda t: t.to_sparse(),
    'compressed': lambda t: t.to_sparse_csr(),
    'on meta': lambda t: t.to('meta'),
    'nested': lambda t: torch.nested.nested_tensor(list(t)),
}
for what, change in TYPES.items():

    def retype(state: dict, change: Callable = change) -> None:
        name = first(state, 2)
        state[name] = change(state[name])

    add_state(f'one {what}', retype)
for what in ('torch.int8', 'torch.bool', 'torch.float8_e4m3fn', 'on meta'):
    add_state(f'all {what}', lambda state, change=TYPES[what]: {n: change(t) for n, t in state.items()})

# values
for value in (float('nan'), float('inf'), -float('inf')):
    for ndim in (4, 1):

        def spoil(state: dict, value: float = value, ndim: int = ndim) -> None:
            name = first(state, ndim)
            state[name] = state[name].clone()
            state[name].view(-1)[-1] = value

        add_state(f'{value} in one of {ndim} dimensions', spoil)

# damage
for part in (0, 1, 2, 3, 4, 10, 30, 100, 500, 0.25, 0.5, 0.75, 0.9, 0.99):
    add_damaged(f'cut at {part}', lambda data, p=part: data[: int(p * len(data)) if isinstance(p, float) else p])
add_damaged('cut by a byte', lambda data: data[:-1])
add_damaged('without a beginning', lambda data: data[100:])
for permille in range(20, 1000, 70):

    def flip(data: bytearray, permille: int = permille) -> None:
        data[len(data) * permille // 1000] ^= 64

    add_damaged(f'a bit flipped at {permille} permille', flip)
for place in (5, 30, 60, -10, -30, -80):

    def flip_end(data: bytearray, place: int = place) -> None:
        data[place] ^= 255

    add_damaged(f'a byte flipped at {place}', flip_end)
add_damaged('zeros in the middle', lambda data: data[:2000] + bytes(2000) + data[4000:])
add_damaged('swapped halves', lambda data: data[len(data) // 2 :] + data[: len(data) // 2])
add_damaged('twice in a row', lambda data: data + data[: len(data) // 2])
add_damaged('old format, cut', lambda data: data[:-100], _use_new_zipfile_serialization=False)
add_damaged('old format, cut early', lambda data: data[:300], _use_new_zipfile_serialization=False)
add_damaged('compressed', lambda data: gzip.compress(data))

# other files
for name, data in {
    'empty': b'',
    'text': b'model weights',
    'a page': b'<!DOCTYPE html><html><body>404</body></html>',
    'a pointer': b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n',
    'zeros': bytes(4096),
    'a picture': b'\x89PNG\r\n\x1a\n' + bytes(100),
    'an empty archive': b'PK\5\6' + bytes(18),
    'a pickle of code': pickle.dumps(Code(), protocol=2),
    'a pickle of a number': pickle.dumps(1, protocol=2),
    'a pickle that fills memory': b'\x80\x02cbuiltins\nbytearray\nJ\x00\x00\x00\x7f\x85R.',
}.items():
    add(name, lambda content, key, data=data: data)
add_content('code beside', lambda content, key: {**content, 'extra': Code()})
add_content('code among the tensors', lambda content, key: {**content, key: {**content[key], 'extra': Code()}})
add_content('another type beside', lambda content, key: {**content, 'path': Path('a')})
add_content('a model', lambda content, key: torch.nn.Linear(2, 2))
add_content('much memory beside', lambda content, key: {**content, 'extra': bytearray(10)})
add('safetensors by another name', lambda content, key: save({n: t.contiguous() for n, t in content[key].items()}))


def numpy_archive(content: dict, key: str) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{name: tensor.numpy() for name, tensor in content[key].items()})
    return buffer.getvalue()


def tar(content: dict, key: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        data = to_bytes(content)
        info = tarfile.TarInfo('storages')
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def duplicated(content: dict, key: str) -> bytes:
    buffer = io.BytesIO(to_bytes(content))
    with zipfile.ZipFile(buffer, 'a') as archive:
        names = [name for name in archive.namelist() if '/data/' in name]
        archive.writestr(names[0], bytes(len(archive.read(names[0]))))
    return buffer.getvalue()


add('an archive of numpy', numpy_archive)
add('an archive of tar', tar)
add('an archive with a part twice', duplicated)
add(
    'an archive without its tensors',
    lambda c, k: rewrite(to_bytes(c), lambda e, d: b'' if '/data/' in e.filename else d),
)
add(
    'an archive without its index',
    lambda c, k: rewrite(to_bytes(c), lambda e, d: b'' if 'data.pkl' in e.filename else d),
)
add(
    'an archive with longer parts',
    lambda c, k: rewrite(to_bytes(c), lambda e, d: d + d if '/data/' in e.filename else d),
)
add(
    'an archive that expands',
    lambda c, k: rewrite(
        to_bytes({**c, 'extra': torch.zeros(1 << 22)}), lambda e, d: d, compression=zipfile.ZIP_DEFLATED
    ),
)

# what a run needs beside the tensors
for key in ('meta', 'optimizer', 'message_hub', 'param_schedulers'):
    for value in ([], 'text', 3, torch.ones(2)):
        name = f'{key} is {value!r}'
        add_content(name, lambda c, k, key=key, v=value: {**c, **({key: v} if key in c else {})}, FOR_RUNS)
    add_content(f'{key} is missing', lambda c, k, key=key: {n: v for n, v in c.items() if n != key}, FOR_RUNS)
for key, value in (('epoch', 'one'), ('epoch', 1e9), ('iter', None), ('dataset_meta', [1]), ('sha256', 0)):
    add_content(
        f'meta.{key} is {value!r}',
        lambda c, k, key=key, v=value: {**c, **({'meta': {**c['meta'], key: v}} if 'meta' in c else {})},
        FOR_RUNS,
    )
add_content(
    'another digest',
    lambda c, k: {**c, **({'meta': {**c['meta'], 'sha256': 'f' * 64}} if 'meta' in c else {})},
    FOR_RUNS,
)
add_content('an optimizer of others', lambda c, k: {**c, **({'optimizer': {}} if 'optimizer' in c else {})}, FOR_RUNS)
add_content('everything but the tensors', lambda c, k: {n: v for n, v in c.items() if n != k})
