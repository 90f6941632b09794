"""What the converters of published files share: their arguments, reading, writing, and saying what became of it."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..engine.checkpoint import read_checkpoint

#: Takes published tensors; returns converted ones, and the names that were left out with the reason.
Convert = Callable[[Mapping[str, Tensor]], tuple[dict[str, Tensor], dict[str, str]]]
#: What of a published file is kept as ``meta``.
META = ('arch', 'epoch', 'best_acc')
#: What precedes the names of a detector's or segmenter's other parts, which OpenMMLab 1.x and 2.x name alike.
OTHER_PARTS = ('neck.', 'rpn_head.', 'roi_head.', 'bbox_head.', 'decode_head.', 'auxiliary_head.')


def strip_module(published: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Remove ``module.``, which parallel training puts before all names."""
    if all(name.startswith('module.') for name in published):
        return {name.removeprefix('module.'): tensor for name, tensor in published.items()}
    return published


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
        source (str | Path): The published file, a dict.
        target (str | Path): The file to write: a dict with ``state_dict`` and ``meta``.
        convert (Convert): Converts the tensors.
        keys (Sequence[str]): Under which the file may hold them; the first that is there counts.
        kind (str): What files these are, for messages.
        allow (Sequence[str]): See :func:`vil_mm.engine.checkpoint.read_checkpoint`.

    Raises:
        FileNotFoundError: If there is no folder to write to.
        ValueError: If the file is not of that kind, or holds code.
    """
    if not Path(target).parent.is_dir():
        raise FileNotFoundError(f'there is no folder {Path(target).parent} to write {Path(target).name} to')
    checkpoint = read_checkpoint(source, allow=allow)
    present = [key for key in keys if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping)]
    if not present:
        held = sorted(map(str, checkpoint))[:8] if isinstance(checkpoint, Mapping) else type(checkpoint).__name__
        wanted = ' or '.join(map(repr, keys))
        raise ValueError(f'{source} is no published {kind} file: it must hold {wanted}, but holds {held}')
    key = present[0]
    converted, dropped = convert(checkpoint[key])
    meta = {name: checkpoint[name] for name in META if name in checkpoint}
    meta['converted_from'] = Path(source).name
    torch.save({'state_dict': converted, 'meta': meta}, target)
    for name, reason in dropped.items():
        print(f'left out  {name}: {reason}')
    others = sorted(set(map(str, checkpoint)) - {key, *meta})
    if others:
        print(f'left out  what else the file holds: {", ".join(others)}')
    print(f'{target}: {len(converted)} tensors from {len(checkpoint[key])} of {key!r}, {len(dropped)} left out')


def argument_parser(description: str) -> argparse.ArgumentParser:
    """Make the parser of the arguments that all converters have."""
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
    """Convert the file that the arguments name; what is wrong with it ends the program with one line."""
    try:
        convert_file(args.source, args.target, convert, keys, kind, tuple(args.allow))
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from error
