"""Report the environment and the op's backends: ``python -m vil_mm.collect_env``."""

import itertools
import os
from importlib.metadata import PackageNotFoundError, version

import torch
from torch._subclasses import FakeTensorMode
from torch.utils.collect_env import get_pretty_env_info

from vil_mm.ops.backends import BACKENDS
from vil_mm.ops.choice import choose_backend
from vil_mm.ops.self_check.checking import Subject, find_verdict
from vil_mm.ops.self_check.problems import PRECISIONS, WIDTHS
from vil_mm.version import __version__

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
LIBRARIES = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmsegmentation')


def describe_backends() -> str:
    """Tell of each backend whether it is there and has passed its check, and which one is chosen where."""
    devices = [torch.device('cpu')]
    if torch.accelerator.is_available():
        devices.append(torch.device(torch.accelerator.current_accelerator().type, 0))
    lines = []
    for name, backend in BACKENDS.items():
        lines.append(f'  {name}: {f"not there: {backend.unavailable}" if backend.unavailable else "there"}')
        if backend.needs_proof and not backend.unavailable:
            lines += [f'    {line}' for device in devices[1:] for line in describe_verdicts(name, str(device))]
    for variable in ('VIL_MM_BACKEND', 'VIL_MM_GPU_KERNELS'):
        lines.append(f'  {variable}: {os.environ.get(variable) or "not set"}')
    lines += [f'  chosen on {device} in {describe_choice(device, dtype)}' for device in devices for dtype in DTYPES]
    lines.append(f'  instruction set of the CPU kernels: {torch.backends.cpu.get_cpu_capability()}')
    return '\n'.join(lines)


def describe_verdicts(name: str, device: str) -> list[str]:
    """List what the checks of a backend on a device have found; nothing is checked for it."""
    lines = []
    for precision, width in itertools.product(PRECISIONS, WIDTHS):
        verdict = find_verdict(Subject(name, device, precision, width))
        if verdict:
            lines.append(f'{precision}, head width {width}: {verdict}')
    return lines or [f'not checked on {device} yet; its first use checks it, or python -m vil_mm.ops.self_check']


def describe_choice(device: torch.device, dtype: torch.dtype) -> str:
    """Name the backends that are chosen up to which head width; nothing is checked for it."""
    chosen = {}
    for width in WIDTHS:
        with FakeTensorMode():
            q = torch.empty(1, 1, 1, width, dtype=dtype, device=device)
        try:
            backend = choose_backend(None, q, 'block')
        except ValueError as error:
            return f'{dtype}: none, {error}'
        chosen[width] = next(name for name in BACKENDS if BACKENDS[name] is backend)
    runs = (list(run) for _, run in itertools.groupby(WIDTHS, chosen.__getitem__))
    return f'{dtype}: {", ".join(f"{chosen[run[-1]]} up to head width {run[-1]}" for run in runs)}'


def describe_libraries() -> str:
    """List the versions of the OpenMMLab libraries, under their stock names or those of the maintained forks."""
    lines = []
    for name in LIBRARIES:
        fork = 'onedl-' + {'mmdet': 'mmdetection'}.get(name, name)
        for distribution in (name, fork):
            try:
                lines.append(f'  {distribution}: {version(distribution)}')
            except PackageNotFoundError:
                continue
    return '\n'.join(lines) or '  none'


def main() -> None:
    """Print the report."""
    print(f'vil_mm: {__version__}\nBackends of the sliding-window attention:\n{describe_backends()}')
    print(f'OpenMMLab libraries:\n{describe_libraries()}\n')
    print(get_pretty_env_info())


if __name__ == '__main__':
    main()
