"""Benchmark sliding-window attention against the alternatives, on the CPU or a GPU.

Every method is first checked against the reference, in float64, at a small
map. Inputs are random and contiguous, parameters have the dtype of the
inputs, and what depends only on the shape (masks, indices, compiled code) is
made before. A method that does not run is listed with the reason.
"""

import argparse
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from attention_methods import METHODS
from measure import available_memory, interleaved_seconds, peak_extra_memory_cuda, run_in_child, seconds, summary
from problem import DIRECTIONS, Inputs, Shape, make_inputs
from report import number, ratio_table, ratios, write_report
from suites import SCALING, make_suites

REFERENCE = METHODS['ours (reference)']
# By how much the error of a method may exceed that of the reference in the
# same dtype. In float32 any mistake does; in bfloat16, where it allows 3%, a
# forgotten bias of one global token does so in its gradient alone.
TOLERANCE = 4
# A method is not repeated once it has taken this long in total
SECONDS_EACH = 10
PEAK_MEMORY = Path(__file__).parent / 'peak_memory.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], help='default: bfloat16 on a GPU')
    parser.add_argument('--suite', choices=['maps', 'stages', 'all', 'acceptance'], default='maps')
    parser.add_argument('--methods', nargs='+', choices=METHODS, default=list(METHODS))
    parser.add_argument('--threads', type=int, default=2, help='of the CPU')
    parser.add_argument('--repeats', type=int, help='default: 10 on the CPU, 50 on a GPU')
    parser.add_argument('--time-limit', type=float, default=10, help='seconds that one call may take')
    parser.add_argument('--batch', type=int, help='default: 1 for maps; for stages it depends on image and device')
    parser.add_argument('--maps', type=int, nargs='+', default=[14, 28, 56, 112, 224, 288], help='sides in tokens')
    parser.add_argument('--heads', type=int, default=3, help='of maps, as the sizes that follow')
    parser.add_argument('--head-dim', type=int, default=32)
    parser.add_argument('--window-size', type=int, default=7)
    parser.add_argument('--num-global-tokens', type=int, default=1)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmarks/sliding_window_attention'))
    args = parser.parse_args()
    cuda = args.device == 'cuda'
    args.dtype = args.dtype or ('bfloat16' if cuda else 'float32')
    args.repeats = args.repeats or (50 if cuda else 10)
    return args


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    sizes = {name: getattr(args, name) for name in ('heads', 'head_dim', 'window_size', 'num_global_tokens')}
    suites = make_suites(args.suite, args.device, args.batch, args.maps, sizes)
    environment = describe(args)
    print(environment)

    small = sorted({small_shape(shape) for shapes in suites.values() for shape in shapes}, key=str)
    checks = [dict(shape=shape, **check) for shape in small for check in check_methods(args, shape)]
    cannot_run = {
        (check['shape'], check['method'], check['direction']): check['reason'] for check in checks if check['reason']
    }
    ours = [name for name in args.methods if name.startswith('ours')]
    # The fastest is listed first
    ours = next((name for name in ours if not any((shape, name, 'forward') in cannot_run for shape in small)), None)

    checks = [dict(check, shape=asdict(check['shape'])) for check in checks]
    results = dict(environment=environment, checks=checks, rows=[], ratios=[])
    pace = {}
    for series, shapes in suites.items():
        for shape in shapes:
            methods = [ours] if series == SCALING and ours else args.methods
            measured = measure_shape(args, shape, methods, cannot_run, pace)
            for row in measured:
                memory = number(row['peak_extra_bytes'], 2**20)
                print(
                    f'{series}, {shape.height}x{shape.width}, {row["method"]}, {row["direction"]}:',
                    row['reason'] or f'{number(row["median_ms"])} ms, {memory} MiB',
                    flush=True,
                )
            results['rows'] += [dict(series=series, **row) for row in measured]
            if args.suite == 'acceptance' and ours:
                results['ratios'] = ratios(results['rows'], ours, getattr(torch, args.dtype).itemsize)
            write_report(results, args.out)  # what there is stays even if the run is stopped
    if results['ratios']:
        print('\n'.join(ratio_table(results['ratios'])))
    print(f'{args.out}: results.json, table.md')


def small_shape(shape: Shape) -> Shape:
    """Shrink a shape to a map with both chunks that are cut off and one that has all its neighbors."""
    return replace(shape, batch=2, height=2 * shape.window_size + 1, width=3 * shape.window_size + 2)


def describe(args: argparse.Namespace) -> dict[str, str | int]:
    """Describe the environment that the numbers depend on."""
    if args.device == 'cuda':
        name = torch.cuda.get_device_name()
    else:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        name = next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), 'unknown')
    return dict(device=name, torch=torch.__version__, cuda=torch.version.cuda, threads=args.threads, dtype=args.dtype)


def check_methods(args: argparse.Namespace, shape: Shape) -> list[dict]:
    """Compare the methods with the reference in float64.

    Returns:
        list[dict]: Of each method and direction: ``error``, the largest over
        output or gradients of the relative error in the Euclidean norm,
        ``allowed``, and ``reason``, why it cannot run.

    Raises:
        SystemExit: If one is wrong.
    """
    device = torch.device(args.device)
    inputs, grad = make_inputs(shape, getattr(torch, args.dtype), device)
    exact = Inputs(*(tensor.detach().double().requires_grad_() for tensor in inputs)), grad.double()
    reference = REFERENCE.prepare(shape, device)
    checks = []
    for direction, run in DIRECTIONS.items():
        expected = run(reference, *exact)
        own_errors = relative_errors(run(reference, inputs, grad), expected)
        allowed = [TOLERANCE * max(error, torch.finfo(inputs.q.dtype).eps) for error in own_errors]
        for name in args.methods:
            check = dict(method=name, direction=direction, error=None, allowed=None, reason='')
            checks.append(check)
            try:
                result = run(METHODS[name].prepare(shape, device), inputs, grad)
            except Exception as error:  # compilers raise all kinds of exceptions
                check['reason'] = first_line(error)
                print(f'check, {name}, {direction}: cannot run: {check["reason"]}', flush=True)
                continue
            if not METHODS[name].windowed:
                print(f'check, {name}, {direction}: runs; differs, because all queries see all keys', flush=True)
                continue
            errors = relative_errors(result, expected)
            check['error'], check['allowed'] = max(zip(errors, allowed), key=lambda pair: pair[0] / pair[1])
            text = f'check, {name}, {direction}: error {check["error"]:.1e}, allowed {check["allowed"]:.1e}'
            # Also true if an error is NaN
            if not all(error <= limit for error, limit in zip(errors, allowed)):
                raise SystemExit(f'{text}: WRONG at {shape}')
            print(text, flush=True)
    return checks


def relative_errors(result: tuple, expected: tuple) -> list[float]:
    """Relative errors of tensors in the Euclidean norm; a missing tensor counts as wholly wrong."""
    return [1.0 if a is None else ((a - b).norm() / b.norm()).item() for a, b in zip(result, expected) if b.numel()]


def first_line(error: Exception) -> str:
    """Give what an exception says first, in one line."""
    lines = str(error).strip().splitlines()
    return f'{type(error).__name__}: {lines[0][:200] if lines else "no message"}'


def measure_shape(
    args: argparse.Namespace, shape: Shape, methods: list[str], cannot_run: dict, pace: dict
) -> list[dict]:
    """Measure methods at one shape, in both directions.

    Args:
        args (argparse.Namespace): The command's.
        shape (Shape): The shape.
        methods (list[str]): Which methods.
        cannot_run (dict): Reasons, by checked shape, method and direction.
        pace (dict): Seconds per unit of work, by method and direction, as last
            measured; updated.

    Returns:
        list[dict]: One row per method and direction.
    """
    device, dtype = torch.device(args.device), getattr(torch, args.dtype)
    rows = {}
    for name in methods:
        for direction in DIRECTIONS:
            reason = cannot_run.get((small_shape(shape), name, direction), '')
            expected = pace.get((name, direction), 0) * METHODS[name].work(shape)
            if not reason and expected > args.time_limit:
                reason = f'would take {expected:.0f} s by its last time, over the limit of {args.time_limit:.0f} s'
            rows[name, direction] = dict(
                **asdict(shape),
                method=name,
                direction=direction,
                median_ms=None,
                fastest_ms=None,
                repeats=0,
                peak_extra_bytes=None,
                reason=reason,
            )

    if device.type == 'cpu':
        for name in methods:
            directions = [direction for direction in DIRECTIONS if not rows[name, direction]['reason']]
            if directions:
                for direction, result in peak_memory_cpu(args, shape, name, directions).items():
                    rows[name, direction].update(result)

    inputs, grad = make_inputs(shape, dtype, device)
    runs = {}
    for name in methods:
        directions = [direction for direction in DIRECTIONS if not rows[name, direction]['reason']]
        attend = METHODS[name].prepare(shape, device) if directions else None
        for direction in directions:
            run = partial(DIRECTIONS[direction], attend, inputs, grad)
            try:
                run()
                pace[name, direction] = seconds(run, device) / METHODS[name].work(shape)
                if device.type == 'cuda':
                    rows[name, direction]['peak_extra_bytes'] = peak_extra_memory_cuda(run)
            except Exception as error:  # out of memory, or a compiler's
                rows[name, direction]['reason'] = first_line(error)
                continue
            runs[name, direction] = run
    for key, samples in interleaved_seconds(runs, device, args.repeats, SECONDS_EACH).items():
        rows[key].update(summary(samples))
    return list(rows.values())


def peak_memory_cpu(args: argparse.Namespace, shape: Shape, name: str, directions: list[str]) -> dict[str, dict]:
    """Measure a method's peak memory in a process of its own, within half of the memory that is available.

    Returns:
        dict[str, dict]: What is known of each direction's row: ``peak_extra_bytes`` or ``reason``.
    """
    limit = available_memory() // 2
    job = dict(method=name, shape=asdict(shape), dtype=args.dtype, threads=args.threads, directions=directions)
    peaks = run_in_child(PEAK_MEMORY, dict(job, limit=limit))
    return {
        direction: dict(reason=f'within {limit / 2**30:.0f} GiB: {peak}')
        if isinstance(peak, str)
        else dict(peak_extra_bytes=peak)
        for direction, peak in peaks.items()
    }


if __name__ == '__main__':
    main()
