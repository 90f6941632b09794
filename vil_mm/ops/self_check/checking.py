"""Whether a backend has passed on a device; if that is not known, a check in a process of its own."""

import contextlib
import json
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import NamedTuple

from ...version import __version__
from ..backends import BACKENDS
from . import verdicts
from .verdicts import Verdict, describe_platform, folder_of, lock, read_verdict, write_verdict

#: Seconds that a check may take, and each of its problems; compilers need most of the first one.
TIMEOUT, PATIENCE = 600, 240
#: How others end a process: no fault of the backend.
INTERRUPTS = ('SIGKILL', 'SIGTERM', 'SIGINT', 'SIGHUP')

logger = logging.getLogger('vil_mm')


class Subject(NamedTuple):
    """What a verdict is on.

    Args:
        backend (str): Its name.
        device (str): Such as ``'cuda:0'``.
        precision (str): One of ``problems.PRECISIONS``.
        width (int): One of ``problems.WIDTHS``.
    """

    backend: str
    device: str
    precision: str
    width: int

    @property
    def name(self) -> str:
        """The name under which its verdict is kept, for all devices of its kind."""
        return f'{self.backend}-{self.precision}-{self.width}'

    def __str__(self) -> str:
        return f'backend {self.backend!r} on {self.device} in {self.precision}, head width {self.width}'


_known: dict[Subject, Verdict] = {}
_mutex = threading.Lock()


def find_verdict(subject: Subject, recheck: bool = False) -> Verdict | None:
    """Look a verdict up.

    Args:
        subject (Subject): What it is on.
        recheck (bool): Whether only those count that were found since this
            process began. Defaults to False.
    """
    if subject not in _known:
        verdict = read_verdict(folder_of(subject.device), subject.name)
        if verdict is None or (recheck and verdict.time < verdicts.START):
            return None
        _known[subject] = verdict
    return _known[subject]


def find_or_check(subject: Subject, floor: str, recheck: bool = False) -> Verdict:
    """Look a verdict up; if there is none, check the backend, while other processes wait for the verdict.

    Args:
        subject (Subject): What the verdict is on.
        floor (str): The backend that it replaces.
        recheck (bool): See :func:`find_verdict`. Defaults to False.
    """
    verdict = find_verdict(subject, recheck)
    if verdict is not None:
        return verdict
    folder = folder_of(subject.device)
    with _mutex, lock(folder):
        verdict = find_verdict(subject, recheck)
        if verdict is None:
            logger.warning('Checking %s, which may take a minute; this happens once on a machine', subject)
            verdict = check(subject, floor)
            if verdict.lasts:
                write_verdict(folder, subject.name, verdict)
            _known[subject] = verdict
            hint = ''
            if verdict.reason:
                hint = f'. Please report:\n{verdict.report}' if verdict.lasts else '. The next process checks it again'
            logger.warning('The %s %s%s', subject, verdict, hint)
    return verdict


def check(subject: Subject, floor: str) -> Verdict:
    """Check a backend in a process of its own."""
    if getattr(sys, 'frozen', False) or not sys.executable:
        return Verdict('it cannot be checked, as there is no Python to run', lasts=False)
    backend = BACKENDS[subject.backend]
    try:
        # what a killed process leaves behind may still have files open there
        with tempfile.TemporaryDirectory(prefix='vil_mm-', ignore_cleanup_errors=True) as folder:
            job, progress, output = (Path(folder, name) for name in ('job', 'progress', 'output'))
            functions = (backend.run, BACKENDS[floor].run, backend.refuse)
            job.write_bytes(pickle.dumps((*functions, *subject[1:], PATIENCE)))
            status = run([sys.executable, '-m', f'{__package__}.worker', str(job), str(progress)], output)
            lines = progress.read_text().splitlines() if progress.exists() else []
            states = [json.loads(line) for line in lines]
            text = output.read_text(errors='replace')
    except (OSError, ValueError) as error:
        return Verdict(f'it cannot be checked: {error}', lasts=False)
    last = states[-1] if states else {}
    if 'passed' in last and status == 0:
        return Verdict(seconds=last['passed'])
    reason, lasts = explain(last, status, 'Timeout (' in text)
    reason += ', in ' + next((state['at'] for state in reversed(states) if 'at' in state), 'preparation')
    platform = [f'{name}: {value}' for name, value in describe_platform(subject.device).items()]
    report = '\n'.join([f'vil_mm {__version__}, {subject}', *platform, reason, text[-4000:]])
    return Verdict(reason, report=report, lasts=lasts)


def explain(last: dict, status: int | None, hangs: bool) -> tuple[str, bool]:
    """Tell why a check did not pass, and whether that is the backend's fault."""
    if 'rejected' in last:
        return last['rejected'], True
    if 'stopped' in last:
        return f'the check ran out of memory ({last["stopped"]})', False
    if status is None or hangs:
        return f'it did not finish within {TIMEOUT if status is None else PATIENCE} s', bool(last)
    end = f'status {status}' if status >= 0 else signal.Signals(-status).name
    if end in INTERRUPTS:
        return f'the check was ended by {end}', False
    return f'the process ended with {end}', bool(last)


def run(command: list[str], output: Path) -> int | None:
    """Run a process in the folder of its output, and return its exit status; None if it had to be ended."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    with output.open('w') as file:
        process = subprocess.Popen(
            command,
            cwd=output.parent,
            env={**os.environ, 'PYTHONPATH': path},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        return process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL) if hasattr(os, 'killpg') else process.kill()
            # a driver that hangs may keep it
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
