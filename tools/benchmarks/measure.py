"""Time and peak memory of calls, on the CPU and on a GPU."""

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

#: Rounds after which a call that has used up its seconds is not repeated.
FEWEST_REPEATS = 3


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Time one call.

    On a GPU its second-level cache is overwritten first: the call finds its
    inputs in main memory, and launches hide behind the overwriting.
    """
    if device.type == 'cpu':
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.empty(2**28, dtype=torch.int8, device=device).zero_()
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def interleaved_seconds(
    runs: dict[object, Callable[[], object]], device: torch.device, repeats: int, seconds_each: float
) -> dict[object, list[float]]:
    """Time calls in rounds, so that noise hits all alike.

    Args:
        runs (dict): Calls, warm.
        device (torch.device): Where they run.
        repeats (int): Rounds.
        seconds_each (float): A call that has taken as long in all drops out,
            though not before ``FEWEST_REPEATS`` rounds.

    Returns:
        dict: Seconds of each repeat, under the keys of ``runs``.
    """
    samples = {key: [] for key in runs}
    for _ in range(repeats):
        for key, run in runs.items():
            if len(samples[key]) < FEWEST_REPEATS or sum(samples[key]) < seconds_each:
                samples[key].append(seconds(run, device))
    return samples


def summary(samples: list[float]) -> dict[str, float | int]:
    """Median and fastest, in milliseconds, and the number of repeats."""
    return dict(median_ms=1e3 * median(samples), fastest_ms=1e3 * min(samples), repeats=len(samples))


def peak_extra_memory_cuda(run: Callable[[], object]) -> int:
    """Peak of what a warm call allocates beyond what is held before it, in bytes."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


class ResidentMemory:
    """Peak resident memory of this process above a baseline, on Linux.

    The resident set is what the kernel counts: it holds what torch, C++ code
    and numpy allocate alike, once touched. Its high-water mark is that of
    ``/proc`` and not ``ru_maxrss``, which a child inherits from its parent and
    which cannot be reset. Freed memory has to go back to the system, or the
    baseline would hold it: see :func:`run_in_child`.
    """

    def __init__(self):
        ctypes.CDLL(None).malloc_trim(0)
        self.baseline = process_memory('VmRSS')

    def peak(self, run: Callable[[], object]) -> int:
        """Highest resident memory during a call, above the baseline, in bytes."""
        # Resets the high-water mark
        Path('/proc/self/clear_refs').write_text('5')
        run()
        return max(0, process_memory('VmHWM') - self.baseline)


def process_memory(name: str) -> int:
    """Read a line of this process's ``/proc/self/status``, in bytes."""
    return _proc_bytes('/proc/self/status', name)


def available_memory() -> int:
    """Memory that can be allocated without swapping, in bytes."""
    return _proc_bytes('/proc/meminfo', 'MemAvailable')


def _proc_bytes(path: str, name: str) -> int:
    return next(1024 * int(line.split()[1]) for line in Path(path).read_text().splitlines() if line.startswith(name))


def run_in_child(script: Path, job: dict) -> dict:
    """Run a script in a process whose freed memory goes back to the system at once.

    Args:
        script (Path): Takes the job as JSON, and prints the result as JSON in
            its last line.
        job (dict): What to do.

    Raises:
        RuntimeError: If it ends with an error.
    """
    thresholds = dict(MALLOC_MMAP_THRESHOLD_=str(2**16), MALLOC_TRIM_THRESHOLD_=str(2**16))
    child = subprocess.run(
        [sys.executable, script, json.dumps(job)], env={**os.environ, **thresholds}, capture_output=True, text=True
    )
    if child.returncode:
        raise RuntimeError(f'{script.name} ended with {child.returncode}: {child.stderr[-2000:]}')
    return json.loads(child.stdout.splitlines()[-1])
