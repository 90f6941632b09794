"""Resuming a run from its newest whole checkpoint."""

import logging
import re
import zipfile
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log


def resume(cfg: Config, checkpoint: str) -> None:
    """Make a run resume from a checkpoint.

    Args:
        cfg (Config): The run's config; changed in place.
        checkpoint (str): The checkpoint file, or ``'auto'`` for the newest
            whole one in the work directory. If there is none, training starts
            from the beginning.

    Raises:
        ValueError: As for :func:`find_latest_checkpoint`.
    """
    if checkpoint == 'auto':
        latest = find_latest_checkpoint(cfg.work_dir)
        if latest is None:
            print_log(f'there is no checkpoint in {cfg.work_dir} to resume from: training starts from the beginning')
            return
        checkpoint = str(latest)
    cfg.resume = True
    cfg.load_from = checkpoint


def find_latest_checkpoint(work_dir: str | Path) -> Path | None:
    """Find the newest whole checkpoint of a run.

    A run that was killed while writing may leave a truncated file, which is
    skipped with a warning.

    Args:
        work_dir (str | Path): The run's folder. It holds the checkpoints, or
            its file ``last_checkpoint`` says where they are.

    Returns:
        Path | None: The checkpoint, or None if there is none at all.

    Raises:
        ValueError: If there are checkpoints but none is whole, or they are
            folders of shards, as FSDP writes.
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


def is_whole(path: Path) -> bool:
    """Tell whether a file of ``torch.save`` is complete and its checksums are right."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except Exception:  # a damaged directory makes zipfile raise errors of many kinds
        return False
