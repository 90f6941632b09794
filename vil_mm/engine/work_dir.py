"""One run at a time in a work directory."""

import os
import socket
import sys
from pathlib import Path
from typing import IO

from mmengine.logging import print_log

if sys.platform != 'win32':
    import fcntl

#: Environment variables by which launchers tell a process its rank.
RANKS = ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK')


def is_first_process() -> bool:
    """Tell whether this is the first process of a run, before the processes know each other."""
    return all(os.environ.get(name, '0') == '0' for name in RANKS)


def lock(work_dir: str | Path) -> IO[str] | None:
    """Keep other runs out of a work directory until this process ends.

    Args:
        work_dir (str | Path): The folder; created if need be.

    Returns:
        IO[str] | None: The locked file ``.lock``, which must stay open, or None if the
        file system has no locks, or on Windows.

    Raises:
        RuntimeError: If another run is at work there. The message names it.
    """
    if sys.platform == 'win32':
        return None
    path = Path(work_dir) / '.lock'
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, 'a+')  # noqa: SIM115  # closed, and thereby unlocked, at the end of the process
    try:
        # locks of this kind are not inherited by worker processes, which may outlive a killed run
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        raise RuntimeError(
            f'{work_dir} is the work directory of another run, {file.read()}: end that one first, or choose another '
            'folder with --work-dir'
        ) from error
    except OSError as error:
        print_log(f'{work_dir} cannot be locked ({error}): do not start a second run there', 'current', 30)
        return None
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    return file
