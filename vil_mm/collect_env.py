"""Report the environment and the op's backends: ``python -m vil_mm.collect_env``."""

import json
from importlib.metadata import PackageNotFoundError, version

import torch
from torch.utils.collect_env import get_pretty_env_info

from vil_mm.ops.backends import BACKENDS, CUDA_RECORD
from vil_mm.version import __version__

LIBRARIES = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmsegmentation')


def describe_backends() -> str:
    """List the backends, and why any are unavailable."""
    lines = []
    for name, backend in BACKENDS.items():
        if backend.unavailable:
            state = f'not there: {backend.unavailable}'
        elif backend.off:
            state = f'off: {backend.off}'
        else:
            state = 'on'
        lines.append(f'  {name}: {state}')
    record = json.loads(CUDA_RECORD.read_text())
    passed = 'never' if record is None else ', '.join(f'{key} {value}' for key, value in record.items())
    lines.append(f'  CUDA kernels last passed their tests on a GPU: {passed}')
    lines.append(f'  instruction set of the CPU kernels: {torch.backends.cpu.get_cpu_capability()}')
    return '\n'.join(lines)


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
