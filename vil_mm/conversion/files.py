"""Reading, converting and writing published files, as the converters' commands do."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from ..engine.checkpoint import read_checkpoint
from .renaming import Converted

Convert: TypeAlias = Callable[[Mapping[str, Tensor]], Converted]
#: Entries of a published file that are kept as ``meta``.
META = ('arch', 'epoch', 'best_acc')


def convert_file(
    source: str | Path,
    target: str | Path,
    convert: Convert,
    keys: Sequence[str],
    kind: str,
    allow: Sequence[str] = (),
) -> None:
    """Convert a published file, and print what became of its tensors.

    Args:
        source (str | Path): The published file, which holds a dict.
        target (str | Path): The file to write. It will hold a dict with
            ``state_dict`` and ``meta``.
        convert (Convert): The function that converts the tensors.
        keys (Sequence[str]): Keys that the file may hold the tensors under. The
            first one that it has is taken.
        kind (str): The kind of file, for messages.
        allow (Sequence[str]): See
            :func:`vil_mm.engine.checkpoint.read_checkpoint`. Defaults to ().

    Raises:
        FileNotFoundError: If ``source`` or the folder of ``target`` is missing.
        ValueError: If the file is damaged, not of that kind, or holds a type
            that is not allowed.
    """
    if not Path(target).parent.is_dir():
        raise FileNotFoundError(f'there is no folder {Path(target).parent} to write {Path(target).name} to')
    checkpoint = read_checkpoint(source, allow=allow)
    present = [key for key in keys if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping)]
    if not present:
        held = sorted(map(str, checkpoint))[:8] if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
        wanted = ' or '.join(map(repr, keys))
        raise ValueError(f'{source} is not a published {kind} file: it must hold {wanted}, but holds {held}')
    key = present[0]
    converted, dropped = convert(checkpoint[key])
    meta = {name: checkpoint[name] for name in META if name in checkpoint}
    meta['converted_from'] = Path(source).name
    torch.save({'state_dict': converted, 'meta': meta}, target)
    for name, reason in dropped.items():
        print(f'left out  {name}: {reason}')
    others = sorted(set(map(str, checkpoint)) - {key, *meta})
    if others:
        print(f'left out  the other entries of the file: {", ".join(others)}')
    print(f'{target}: {len(converted)} tensors from {len(checkpoint[key])} of {key!r}, {len(dropped)} left out')


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser with the arguments that all converters have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SRC', help='published file')
    parser.add_argument('target', metavar='DST', help='file to write')
    parser.add_argument(
        '--allow',
        nargs='+',
        default=(),
        metavar='TYPE',
        help='full names of types that the file may hold beside tensors and plain values',
    )
    return parser


def run(args: argparse.Namespace, convert: Convert, keys: Sequence[str], kind: str) -> None:
    """Convert the file that the arguments name; if it is unfit, exit with a message of one line."""
    try:
        convert_file(args.source, args.target, convert, keys, kind, tuple(args.allow))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from error
