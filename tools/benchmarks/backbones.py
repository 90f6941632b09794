"""Benchmark whole backbones against resolution: ViL-Small with each mechanism, compiled, and mmpretrain's Swin-Tiny.

The sliding window has its relative bias, the other mechanisms of ViL an
absolute position. It measures the time of inference and of a training step, peak memory beyond the weights, and
multiply-adds, on the CPU or a GPU. The publication's formulation is the same backbone
with its algorithm of nine rolled products, and explicit softmax elsewhere.
"""

import argparse
import json
from importlib.util import find_spec
from pathlib import Path

import torch
from backbone_models import INFERENCE, NAMES, OURS, PUBLICATION, RECOMPUTING, SWIN, TRAINING, build, make_run
from measure import interleaved_seconds, peak_extra_memory_cuda, run_in_child, summary
from torch._subclasses.fake_tensor import FakeTensorMode

from vil_mm.apis.flops import count_macs

PEAK_MEMORY = Path(__file__).parent / 'backbone_peak_memory.py'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sizes', type=int, nargs='+', default=[224, 320, 448], help='of the square images, in pixels')
    parser.add_argument('--models', nargs='+', choices=NAMES, default=NAMES)
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=['float32', 'bfloat16', 'float16'], help='default: bfloat16 on a GPU')
    parser.add_argument('--batch', type=int, help='default: 2 on the CPU, 128 on a GPU')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmarks/backbones'))
    args = parser.parse_args()
    args.dtype = args.dtype or ('bfloat16' if args.device == 'cuda' else 'float32')
    args.batch = args.batch or (128 if args.device == 'cuda' else 2)
    return args


def measure(args: argparse.Namespace, size: int) -> list[dict]:
    """Measure all models at one size: a row per model and direction."""
    rows, device = [], torch.device(args.device)
    for direction in (INFERENCE, TRAINING):
        settings = dict(size=size, batch=args.batch, direction=direction)
        runs = {
            name: make_run(name, **settings, device=device, dtype=getattr(torch, args.dtype)) for name in args.models
        }
        for run in runs.values():
            run()
        times = interleaved_seconds(runs, device, args.repeats, seconds_each=120)
        for name in args.models:
            row = dict(model=name, **settings, macs=macs_per_image(name, size), **summary(times[name]))
            row['images_per_second'] = 1e3 * args.batch / row['median_ms']
            if args.device == 'cuda':
                row['peak_extra_bytes'] = peak_extra_memory_cuda(runs[name])
            else:
                job = dict(name=name, **settings, dtype=args.dtype, threads=args.threads)
                row['peak_extra_bytes'] = run_in_child(PEAK_MEMORY, job)
            print(
                f'{size}, {direction}, {name}: {row["median_ms"]:.0f} ms, {row["images_per_second"]:.1f} images/s, '
                f'{row["peak_extra_bytes"] / 2**20:.0f} MiB'
            )
            rows.append(row)
    return rows


def macs_per_image(name: str, size: int) -> int:
    """Count multiply-adds, without computing."""
    model = build(name, size)
    model.eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        return count_macs(model, [torch.rand(1, 3, size, size)])['']


def ratios(rows: list[dict]) -> list[dict]:
    """Compare our sliding window with the publication's formulation, and with Swin-Tiny per multiply-add."""
    found = {(row['model'], row['size'], row['direction']): row for row in rows}
    result = []
    for (model, size, direction), ours in found.items():
        if model not in (OURS, RECOMPUTING):
            continue
        other = found.get((PUBLICATION, size, direction))
        if other:
            for key in ('median_ms', 'peak_extra_bytes'):
                result.append(
                    dict(
                        size=size,
                        direction=direction,
                        ratio=f'{key}, publication / {model}',
                        value=other[key] / ours[key],
                    )
                )
        swin = found.get((SWIN, size, direction))
        if swin:
            per_mac = ours['median_ms'] / ours['macs'] / (swin['median_ms'] / swin['macs'])
            result.append(
                dict(size=size, direction=direction, ratio=f'time per MAC, {model} / Swin-Tiny', value=per_mac)
            )
    return result


def table(rows: list[dict], compared: list[dict]) -> str:
    """Write the results as Markdown."""
    lines = ['| model | pixels | GMACs per image | inference | training step | memory: inference | training step |']
    lines.append('| --- | --: | --: | --: | --: | --: | --: |')
    for row in rows:
        if row['direction'] == INFERENCE:
            (step,) = (
                r for r in rows if (r['model'], r['size']) == (row['model'], row['size']) and r['direction'] == TRAINING
            )
            times = ' | '.join(f'{r["median_ms"]:.0f} ms ({r["images_per_second"]:.1f} images/s)' for r in (row, step))
            memory = f'{row["peak_extra_bytes"] / 2**20:.0f} MiB | {step["peak_extra_bytes"] / 2**20:.0f} MiB'
            lines.append(f'| {row["model"]} | {row["size"]} | {row["macs"] / 1e9:.2f} | {times} | {memory} |')
    lines += ['', '| pixels | direction | ratio | value |', '| --: | --- | --- | --: |']
    lines += [f'| {r["size"]} | {r["direction"]} | {r["ratio"]} | {r["value"]:.2f} |' for r in compared]
    return '\n'.join(lines) + '\n'


def plot(rows: list[dict], target: Path) -> None:
    """Draw time, memory and multiply-adds against the size of the image."""
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 5, figsize=(22, 4.5), layout='constrained')
    panels = [(d, key) for key in ('median_ms', 'peak_extra_bytes') for d in (INFERENCE, TRAINING)] + [
        (INFERENCE, 'macs')
    ]
    labels = dict(median_ms='ms', peak_extra_bytes='bytes', macs='multiply-adds per image')
    for axis, (direction, key) in zip(axes, panels):
        for model in dict.fromkeys(row['model'] for row in rows):
            points = [(r['size'], r[key]) for r in rows if (r['model'], r['direction']) == (model, direction)]
            axis.plot(*zip(*points), marker='o', label=model)
        axis.set(title=direction, xlabel='image side (pixels)', ylabel=labels[key], xscale='log', yscale='log')
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=4)
    figure.savefig(target, dpi=110)


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    rows = [row for size in sorted(args.sizes) for row in measure(args, size)]
    compared = ratios(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    name = torch.cuda.get_device_name() if args.device == 'cuda' else args.device
    environment = dict(device=name, torch=torch.__version__, threads=args.threads, dtype=args.dtype)
    (args.out / 'results.json').write_text(
        json.dumps(dict(environment=environment, rows=rows, ratios=compared), indent=1)
    )
    (args.out / 'table.md').write_text(table(rows, compared))
    print(table(rows, compared), f'{args.out}: results.json, table.md', sep='\n')
    if find_spec('matplotlib'):
        plot(rows, args.out / 'comparison.png')


if __name__ == '__main__':
    main()
