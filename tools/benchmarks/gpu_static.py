"""Measure the sliding window's GPU kernels without a GPU: the compiled code, and the time that it takes at least.

All Triton kernels, and the CUDA kernels if nvcc is found, are compiled for one architecture each of five generations.
Instructions are those of the longest way through the loop over tiles, where loops inside count once: for Triton
kernels, whose loops do not branch, what is executed; for CUDA kernels, which branch, an upper bound. A bound on time
assumes that a resource is busy all the time; it is not a measurement.
"""

import argparse
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import torch
from gpu_hardware import GPUS, RESOURCES
from gpu_kernels import (
    CUDA_NAMES,
    CUDA_WIDTHS,
    DTYPES,
    SOURCES,
    TARGETS,
    WIDTHS,
    Kernel,
    cuda_kernels,
    cuda_layouts,
    nvcc,
    triton_kernels,
)
from suites import IMAGES, stage_shapes

ALL_WIDTHS = sorted({*WIDTHS, *CUDA_WIDTHS})


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--targets', nargs='+', choices=TARGETS, default=list(TARGETS))
    parser.add_argument('--dtypes', nargs='+', choices=DTYPES, default=list(DTYPES))
    parser.add_argument(
        '--widths', nargs='+', type=int, choices=ALL_WIDTHS, default=ALL_WIDTHS, help='of heads, padded'
    )
    parser.add_argument('--languages', nargs='+', choices=['Triton', 'CUDA'], default=['Triton', 'CUDA'])
    parser.add_argument('--jobs', type=int, default=2, help='processes that compile at the same time')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmarks/gpu_static'))
    return parser.parse_args()


def compile_all(args: argparse.Namespace) -> list[Kernel]:
    """Compile all kernels."""
    os.environ['TRITON_INTERPRET'] = '0'  # for the processes that are started here
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(args.jobs, get_context('spawn'), initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        futures = []
        if 'Triton' in args.languages:
            instances = product(args.targets, args.dtypes, set(WIDTHS).intersection(args.widths))
            futures += [pool.submit(triton_kernels, *instance) for instance in instances]
        if 'CUDA' in args.languages and nvcc():
            layouts = cuda_layouts(Path(folder))
            endings = tuple({CUDA_NAMES[dtype] for dtype in args.dtypes})
            sources = [source for source in sorted(SOURCES.glob('*.cu')) if source.stem.endswith(endings)]
            futures += [
                pool.submit(cuda_kernels, target, source, layouts, Path(folder))
                for target, source in product(args.targets, sources)
                if TARGETS[target].backend == 'cuda'
            ]
        kernels = [kernel for future in futures for kernel in future.result()]
    return [kernel for kernel in kernels if kernel.dtype in args.dtypes and kernel.width in args.widths]


def describe(kernel: Kernel) -> dict:
    """List what the table shows of a kernel."""
    names = ('language', 'target', 'name', 'dtype', 'width', 'rows', 'columns', 'warps', 'shared')
    return {name: getattr(kernel, name) for name in (*names, 'instructions', 'products')} | dict(
        registers=kernel.code.registers,
        spills=kernel.code.spills,
        resident_warps=GPUS[kernel.target].resident_warps(kernel),
    )


def bounds(kernels: list[Kernel]) -> list[dict]:
    """How long forward and backward take at least at each stage of ViL-Small, in microseconds.

    The kernels of a backward run one after another. What is not known of any is None.
    """
    rows = []
    for language, target, dtype in dict.fromkeys((x.language, x.target, x.dtype) for x in kernels):
        of_kind = [x for x in kernels if (x.language, x.target, x.dtype) == (language, target, dtype)]
        for (height, width), batch in IMAGES.items():
            for stage, shape in enumerate(stage_shapes((height, width), batch['cuda']), 1):
                for direction in ('forward', 'backward'):
                    parts = [x for x in of_kind if x.width == shape.head_dim and x.name.startswith(direction)]
                    if not parts or not all(x.instructions for x in parts):
                        continue
                    times = [GPUS[target].microseconds(x, shape) for x in parts]
                    sums = [None if None in column else sum(column) for column in zip(*times)]
                    bound = sum(max(x for x in of_part if x is not None) for of_part in times)
                    rows.append(
                        dict(language=language, target=target, dtype=dtype, image=f'{height}x{width}', stage=stage)
                        | dict(shape=asdict(shape), direction=direction, bound=bound)
                        | dict(zip(RESOURCES, sums))
                    )
    return rows


def table(columns: dict[str, str], rows: list[dict]) -> list[str]:
    """Write rows as Markdown: columns are titles by key."""

    def text(value: object) -> str:
        if value is None:
            return '-'
        return f'{value:.1f}' if isinstance(value, float) else str(value)

    lines = [f'| {" | ".join(columns.values())} |', f'|{" --- |" * len(columns)}']
    return [*lines, *(f'| {" | ".join(text(row[key]) for key in columns)} |' for row in rows), '']


def report(kernels: list[dict], times: list[dict]) -> str:
    """Write everything as Markdown."""
    kernel_columns = dict(language='language', target='target', name='kernel', dtype='dtype', width='head width')
    kernel_columns |= dict(registers='registers', spills='spilled bytes', shared='shared bytes')
    kernel_columns |= dict(resident_warps='resident warps', instructions='instructions per 64x64 tile and warp')
    time_columns = dict(language='language', target='target', dtype='dtype', image='image', stage='stage')
    time_columns |= (
        dict(direction='direction') | {name: f'{name} (us)' for name in RESOURCES} | dict(bound='bound (us)')
    )
    gpu_columns = dict(target='target', name='GPU', multiprocessors='multiprocessors', gigahertz='GHz')
    gpu_columns |= dict(issue='clocks to issue', exponential='clocks of an exponential', macs='multiply-adds per clock')
    gpu_columns |= dict(l2_bytes='L2 bytes per clock', memory='memory bytes per second', source='source')
    gpus = [dict(target=target, **asdict(gpu) | dict(memory=f'{gpu.memory:.3g}')) for target, gpu in GPUS.items()]
    batches = ', '.join(f'{batch["cuda"]} of {height}x{width}' for (height, width), batch in IMAGES.items())
    parts = [
        '## Kernels\n',
        *table(kernel_columns, kernels),
        f'## Time at least, stages of ViL-Small, batches of {batches}\n',
        *table(time_columns, times),
        '## GPUs\n',
        *table(gpu_columns, gpus),
    ]
    return '\n'.join(parts)


def main() -> None:
    args = parse_args()
    kernels = compile_all(args)
    described, times = [describe(kernel) for kernel in kernels], bounds(kernels)
    args.out.mkdir(parents=True, exist_ok=True)
    results = dict(kernels=described, bounds=times, gpus={target: asdict(gpu) for target, gpu in GPUS.items()})
    (args.out / 'results.json').write_text(json.dumps(results, indent=1))
    (args.out / 'table.md').write_text(report(described, times))
    print(f'{args.out}: results.json, table.md, with {len(kernels)} kernels')


if __name__ == '__main__':
    main()
