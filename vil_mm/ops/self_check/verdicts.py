"""Verdicts on backends, and where they are kept."""

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

import torch

#: When this process began, for ``VIL_MM_GPU_KERNELS=recheck``.
START = time.time()


@dataclass(frozen=True)
class Verdict:
    """What a check found.

    Args:
        reason (str, optional): Why the backend did not pass. Defaults to None.
        seconds (dict[str, list[float]]): See
            :func:`vil_mm.ops.self_check.judge.examine`. Defaults to none.
        report (str): What to send to the authors. Defaults to ''.
        lasts (bool): Whether it is kept for other processes: not if the
            check itself could not be finished. Defaults to True.
        time (float): When it was found, in seconds since the epoch.
    """

    reason: str | None = None
    seconds: dict[str, list[float]] = field(default_factory=dict)
    report: str = ''
    lasts: bool = True
    time: float = field(default_factory=time.time)

    def __str__(self) -> str:
        if self.reason:
            return f'did not pass: {self.reason}'
        speeds = [f'{name} {theirs / ours:.1f}' for name, (ours, theirs) in self.seconds.items()]
        return f'passed, times as fast as plain PyTorch: {", ".join(speeds)}'

    @property
    def cost(self) -> float:
        """Seconds of forward and backward, by which backends that passed are compared."""
        return self.seconds['forward and backward'][0]


@functools.cache
def describe_platform(device: str) -> dict[str, str]:
    """Collect what a verdict depends on.

    Raises:
        RuntimeError: If there is no such device.
    """
    kind = torch.device(device).type
    if kind == 'cpu':
        name, capability, driver = torch.backends.cpu.get_cpu_capability(), '', ''
    else:
        module = torch.get_device_module(device)
        name, capability = module.get_device_name(device), str(module.get_device_capability(device))
        driver = getattr(module.get_device_properties(device), 'driver_version', '') or _read_driver()
    return {
        'kernels': hash_of_kernels(),
        'torch': torch.__version__,
        'CUDA': str(torch.version.cuda),
        'ROCm': str(torch.version.hip),
        'Triton': _version_of_triton(),
        'driver': driver,
        'device': f'{kind} {name}',
        'capability': capability,
    }


def _read_driver() -> str:
    for path in ('/proc/driver/nvidia/version', '/sys/module/amdgpu/version'):
        with contextlib.suppress(OSError):
            return Path(path).read_text().split('\n')[0]
    # elsewhere, at least the CUDA version that it supports
    return str(torch._C._cuda_getDriverVersion()) if torch.version.cuda else ''  # type: ignore[attr-defined]


def _version_of_triton() -> str:
    try:
        return importlib.import_module('triton').__version__
    except ImportError:
        return 'None'


@functools.cache
def hash_of_kernels() -> str:
    """Hash the code of ``vil_mm.ops`` and of the extension."""
    root = Path(__file__).parents[1]
    extension = importlib.util.find_spec('vil_mm._C')
    paths = [*sorted(root.rglob('*.py')), *([Path(extension.origin)] if extension else [])]
    digest = hashlib.sha256()
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def folder_of(device: str) -> Path | None:
    """Find where verdicts on this platform are kept; None without a home."""
    root = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    if not os.path.isabs(root):
        return None
    key = hashlib.sha256(json.dumps(describe_platform(device)).encode()).hexdigest()[:16]
    return Path(root, 'vil_mm', 'self_check', key)


def read_verdict(folder: Path | None, name: str) -> Verdict | None:
    """Read the verdict with that name, if it is there and sound."""
    if folder is None:
        return None
    try:
        return Verdict(**json.loads((folder / f'{name}.json').read_text()))
    except (OSError, ValueError, TypeError):
        return None


def write_verdict(folder: Path | None, name: str, verdict: Verdict) -> None:
    """Keep a verdict, so that no one ever reads half of it; where that is impossible, this process remembers it."""
    if folder is None:
        return
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile('w', dir=folder, suffix='.tmp', delete=False) as file:
            json.dump(asdict(verdict), file, indent=2)
        os.replace(file.name, folder / f'{name}.json')


@contextlib.contextmanager
def lock(folder: Path | None) -> Iterator[None]:
    """Let one process at a time in; the system lets go of the lock if the process dies."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                _wait_for(stack.enter_context((folder / 'lock').open('w')))
        yield


def _wait_for(file: TextIO) -> None:
    if sys.platform != 'win32':
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        return
    import msvcrt

    while True:  # it gives up after ten seconds
        with contextlib.suppress(OSError):
            return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
