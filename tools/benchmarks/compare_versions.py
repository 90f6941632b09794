"""Compare the speed of the sliding window on the CPU between two versions of this repository.

Both versions run in turns, call by call, so that noise hits both alike. Each
is a folder, or a revision of git, which is checked out and built in a
temporary folder. The publication's algorithm and a matrix product of
1024 x 1024 run beside them; GFLOP/s count the products of queries and the
keys that they see.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from attention_methods import PUBLICATION
from measure import summary
from problem import DIRECTIONS, Shape
from report import number

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
OURS = 'ours (cpu)'
#: Products of matrices with 1024 rows and columns.
PRODUCT_FLOPS = 2 * 1024**3
#: The first stage of ViL-Small at 224 pixels, and small maps: with several heads, with one, and with chunks cut off.
SHAPES = (
    Shape(8, 3, 32, 56, 56),
    Shape(1, 3, 32, 28, 28),
    Shape(1, 1, 32, 28, 28),
    Shape(1, 1, 32, 14, 14),
    Shape(1, 3, 32, 30, 30),
)
COLUMNS = (
    *('map', 'batch, heads', 'dtype', 'threads', 'direction', 'base', 'new', 'base / new', 'publication / new'),
    *('GFLOP/s of new', 'of the matrix product', 'new / product'),
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('base', help='folder or revision')
    parser.add_argument('new', nargs='?', default=str(ROOT), help='folder or revision; default: this folder')
    parser.add_argument('--dtypes', nargs='+', choices=['float32', 'bfloat16', 'float16'], default=['float32'])
    parser.add_argument('--threads', type=int, nargs='+', default=[1, 2])
    parser.add_argument('--shapes', type=int, nargs='+', choices=range(len(SHAPES)), default=range(len(SHAPES)))
    parser.add_argument('--repeats', type=int, default=15)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmarks/compare_versions.json'))
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    rows = []
    with ExitStack() as stack:
        workers = {name: start_worker(getattr(args, name), stack) for name in ('base', 'new')}
        print(f'times in ms: fastest, median; ratios: medians of those of single rounds; torch {torch.__version__}')
        print('| ' + ' | '.join(COLUMNS) + ' |\n|' + ' --- |' * len(COLUMNS))
        for index, dtype, threads, direction in product(args.shapes, args.dtypes, args.threads, DIRECTIONS):
            rows.append(compare(workers, SHAPES[index], dtype, threads, direction, args.repeats))
            print(table_row(rows[-1]), flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=1) + '\n')


def start_worker(version: str, stack: ExitStack) -> Callable[[dict], float]:
    """Start a process with a version of the package.

    Args:
        version (str): Folder, whose extension is built, or revision.
        stack (ExitStack): Ends the process, and removes what was checked out.

    Returns:
        Callable[[dict], float]: Asks it for the seconds of a job.
    """
    folder = Path(version).resolve() if Path(version).is_dir() else check_out(version, stack)
    worker = subprocess.Popen(
        [sys.executable, FOLDER / 'op_worker.py'],
        # an idle worker must not keep a core busy
        env={**os.environ, 'PYTHONPATH': str(folder), 'OMP_WAIT_POLICY': 'passive'},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.enter_context(worker)  # closes its input, which ends it

    def ask(job: dict) -> float:
        print(json.dumps(job), file=worker.stdin, flush=True)
        answer = worker.stdout.readline()
        if not answer:
            raise RuntimeError(f'the version {version!r} ended with {worker.wait()} at {job}')
        return float(answer)

    return ask


def check_out(revision: str, stack: ExitStack) -> Path:
    """Check a revision out, and build it."""
    folder = Path(stack.enter_context(TemporaryDirectory())) / 'tree'
    subprocess.run(['git', 'worktree', 'add', '--detach', folder, revision], cwd=ROOT, check=True)
    stack.callback(subprocess.run, ['git', 'worktree', 'remove', '--force', folder], cwd=ROOT, check=True)
    environment = {**os.environ, 'VIL_MM_BUILD_CUDA': '0'}
    subprocess.run([sys.executable, 'setup.py', 'build_ext', '--inplace'], cwd=folder, env=environment, check=True)
    return folder


def compare(
    workers: dict[str, Callable[[dict], float]], shape: Shape, dtype: str, threads: int, direction: str, repeats: int
) -> dict:
    """Measure both versions, the publication's algorithm and a matrix product in turns."""
    job = dict(shape=asdict(shape), dtype=dtype, threads=threads, method=OURS, direction=direction)
    jobs = {
        'base': partial(workers['base'], job),
        'new': partial(workers['new'], job),
        'publication': partial(workers['base'], dict(job, method=PUBLICATION)),
        'product': partial(workers['base'], dict(job, direction='product')),
    }
    samples = {name: [] for name in jobs}
    for _ in range(repeats + 1):
        for name, run in jobs.items():
            samples[name].append(run())
    samples = {name: seconds[1:] for name, seconds in samples.items()}  # the first ones warm up
    times = {name: summary(seconds) for name, seconds in samples.items()}
    return dict(
        **job,
        **times,
        ratios={name: median(a / b for a, b in zip(samples[name], samples['new'])) for name in ('base', 'publication')},
        gflops=shape.flops(direction) / times['new']['median_ms'] / 1e6,
        product_gflops=PRODUCT_FLOPS / times['product']['median_ms'] / 1e6,
    )


def table_row(row: dict) -> str:
    """Write a row of the table in Markdown."""
    shape = row['shape']
    cells = [f'{shape["height"]}x{shape["width"]}', f'{shape["batch"]}, {shape["heads"]}']
    cells += [row['dtype'], str(row['threads']), row['direction']]
    cells += [f'{number(row[name]["fastest_ms"])}, {number(row[name]["median_ms"])}' for name in ('base', 'new')]
    figures = [*row['ratios'].values(), row['gflops'], row['product_gflops'], row['gflops'] / row['product_gflops']]
    return '| ' + ' | '.join([*cells, *map(number, figures)]) + ' |'


if __name__ == '__main__':
    main()
