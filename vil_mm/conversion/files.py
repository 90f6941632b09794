"""Reading, converting and writing published files, as the converters' commands do."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from torch import Tensor

from ..engine.checkpoint import read_checkpoint, state_dict_of, write_checkpoint
from ..engine.fitting import check_finite
from ..models.layers import CheckpointError, abbreviate
from .recognition import read_candidate, recognize
from .renaming import Converted

Convert: TypeAlias = Callable[[Mapping[str, Tensor]], Converted]
#: Entries of a published file that are kept as ``meta``, if they are of these types.
META = {'arch': str, 'epoch': int, 'best_acc': float}


def convert_file(
    source: str | Path,
    target: str | Path,
    convert: Convert,
    keys: Sequence[str],
    kind: str,
    family: str,
    allow: Sequence[str] = (),
    config: str | None = None,
) -> None:
    """Convert a published file, and print what became of its tensors and which config takes them.

    Args:
        source (str | Path): The published file, which holds a dict.
        target (str | Path): The file to write. It will hold a dict with
            ``state_dict`` and ``meta``, or if its name ends in
            ``.safetensors``, the tensors. It is not touched if anything fails.
        convert (Convert): The function that converts the tensors.
        keys (Sequence[str]): Keys that the file may hold the tensors under. The
            first one that it has is taken.
        kind (str): The kind of file, for messages.
        family (str): The folder of the family's configs.
        allow (Sequence[str]): See
            :func:`vil_mm.engine.checkpoint.read_checkpoint`. Defaults to ().
        config (str, optional): The config whose model the tensors are of.
            Defaults to None: one of the family's.

    Raises:
        FileNotFoundError: If ``source``, ``config`` or the folder of ``target``
            is missing.
        CheckpointError: If the file is damaged, not of that kind, holds a type
            that is not allowed, or is of no model that a config has.
        ValueError: If ``target`` is ``source``, or ``config`` is of no model of
            ours.
    """
    if not Path(target).parent.is_dir():
        raise FileNotFoundError(f'there is no folder {Path(target).parent} to write {Path(target).name} to')
    if config and not Path(config).is_file():
        raise FileNotFoundError(f'there is no config {config}')
    if Path(target).exists() and Path(target).samefile(source):
        raise ValueError(f'{target} is the published file itself: name another file to write')
    if config:
        read_candidate(Path(config))
    checkpoint = read_checkpoint(source, allow=allow)
    present = [key for key in keys if isinstance(checkpoint.get(key), Mapping)]
    if not present:
        held = sorted(map(str, checkpoint))[:8]
        wanted = ' or '.join(map(repr, keys))
        raise CheckpointError(f'{source} is not a published {kind} file: it must hold {wanted}, but holds {held}')
    key = present[0]
    published = state_dict_of(dict(state_dict=checkpoint[key]), f'{source}, {key!r},')
    try:
        converted, dropped = convert(published)
        model = recognize(converted, family, Path(target), config)
    except ValueError as error:
        raise CheckpointError(f'{source}: {error}') from error
    except (IndexError, KeyError, RuntimeError, TypeError) as error:
        # the rules take it for granted that tensors have their shapes, and that those which belong together are there
        raise CheckpointError(f'{source} is not a whole {kind} file: {type(error).__name__}: {error}') from error
    check_finite(converted, str(source))
    meta = {name: checkpoint[name] for name, plain in META.items() if isinstance(checkpoint.get(name), plain)}
    others = sorted(set(map(str, checkpoint)) - {key, *meta})
    meta.update(converted_from=Path(source).name, architecture=model.description)
    write_checkpoint({'state_dict': converted, 'meta': meta}, target)
    for name, reason in dropped.items():
        print(f'left out  {name}: {reason}')
    if others:
        print(f'left out  the other entries of the file: {", ".join(others)}')
    print(f'{target}: {len(converted)} tensors from {len(checkpoint[key])} of {key!r}, {len(dropped)} left out')
    also = f' (as do {abbreviate(model.configs[1:])})' if model.configs[1:] else ''
    print(f'It is {model.description}: {model.configs[0]} takes it{also}')


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
    parser.add_argument('--config', metavar='FILE', help='config of the model, if it is none of this repository')
    return parser


def run(args: argparse.Namespace, convert: Convert, keys: Sequence[str], kind: str, family: str) -> None:
    """Convert the file that the arguments name; if it is unfit, exit with a message of one line."""
    try:
        convert_file(args.source, args.target, convert, keys, kind, family, tuple(args.allow), args.config)
    except (ValueError, OSError, ImportError) as error:
        raise SystemExit(f'error: {error}') from error
