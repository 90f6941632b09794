"""Choosing the checkpoint that a run resumes from."""

import logging
import re
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

#: Name of the checkpoint of a run that was told to stop.
INTERRUPTED = 'interrupted.pth'
#: Names of the checkpoints that can be resumed: those that mmengine writes at its intervals, and that one.
RESUMABLE = re.compile(rf'(?:epoch|iter)_(\d+)\.pth|{re.escape(INTERRUPTED)}')


def resume(cfg: Config, checkpoint: str) -> None:
    """Make a run resume from a checkpoint.

    Args:
        cfg (Config): The run's config; changed in place.
        checkpoint (str): The checkpoint file or its URL, or ``'auto'`` for what
            :func:`find_latest_checkpoint` finds in the work directory. If there
            is none, training starts from the beginning.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: As for :func:`find_latest_checkpoint`.
    """
    if checkpoint == 'auto':
        latest = find_latest_checkpoint(cfg.work_dir)
        if latest is None:
            print_log(f'there is no checkpoint in {cfg.work_dir} to resume from: training starts from the beginning')
            cfg.resume = False
            return
        checkpoint = str(latest)
    elif '://' not in checkpoint and not Path(checkpoint).expanduser().is_file():
        raise FileNotFoundError(f'--resume {checkpoint}: there is no such file')
    cfg.resume = True
    cfg.load_from = checkpoint


def find_latest_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the last checkpoint that a run wrote and that is whole.

    It is the one named in the folder's file ``last_checkpoint``, which mmengine
    writes after each checkpoint. If that one is missing or damaged, it is the
    newest by time of writing. The numbers in the names do not count, because an
    older run may have left files with higher ones. A run that was killed while
    writing may leave a truncated file, which is skipped with a warning.

    Args:
        work_dir (str | Path): The run's folder. It holds the checkpoints, or
            its file ``last_checkpoint`` says where they are.

    Returns:
        Path | None: The checkpoint, or None if there is none at all.

    Raises:
        ValueError: If there are checkpoints but none is whole, or they are
            folders of shards, as FSDP writes.
    """
    work_dir = Path(work_dir).resolve()
    named, last = read_last_checkpoint(work_dir)
    folders = {work_dir, *([named.parent.resolve()] if named else [])}
    found = {path for folder in folders for path in folder.glob('*.pth') if RESUMABLE.fullmatch(path.name)}
    found |= {last} if last else set()
    for path in found:
        if path.is_dir():
            raise ValueError(f'{path} is a folder of shards, as FSDP writes: the tools cannot resume from it')
    if named and not found:
        raise ValueError(
            f'{work_dir / "last_checkpoint"} names {named}, which is not there: name a checkpoint with --resume '
            'CHECKPOINT, or delete last_checkpoint to start from the beginning'
        )
    if named and last is None:
        print_log(f'{named}, which last_checkpoint names, is not there', 'current', logging.WARNING)
    last_is_whole = last is not None and is_whole(last)
    for path in sorted(found, key=written, reverse=True):
        if path == last and last_is_whole:
            return path
        if not is_whole(path):
            reason = 'is damaged'
        elif last_is_whole:
            reason = f'is newer than {last.name}, but last_checkpoint does not name it,'
        else:
            return path
        print_log(f'{path} {reason} and was skipped', 'current', logging.WARNING)
    if found:
        raise ValueError(f'none of the checkpoints in {work_dir} is whole: {sorted(path.name for path in found)}')
    return None


def read_last_checkpoint(work_dir: Path) -> tuple[Path | None, Path | None]:
    """Read the path in a run's file ``last_checkpoint``, and find the checkpoint.

    Returns:
        tuple[Path | None, Path | None]: The path as written, and where the
        checkpoint is: in ``work_dir``, which may have been moved or copied, or
        else there.
    """
    file = work_dir / 'last_checkpoint'
    # a crash may leave the file empty or full of zeros
    text = file.read_text(errors='replace').strip('\0 \r\n') if file.is_file() else ''
    if not text:
        return None, None
    named = Path(text)
    for path in (work_dir / named.name, named):
        if path.exists():
            return named, path.parent.resolve() / path.name
    return named, None


def written(path: Path) -> tuple[int, int]:
    """Tell when a file was written; files of the same time, such as copies, are in the order of their numbers."""
    match = RESUMABLE.fullmatch(path.name)
    return path.stat().st_mtime_ns, int(match[1] or 0) if match else 0


def is_whole(path: Path) -> bool:
    """Tell whether a file of ``torch.save`` is complete and its checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged directory makes zipfile raise errors of many kinds
        return False
