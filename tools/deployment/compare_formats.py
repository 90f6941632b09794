"""Compare what the small classifiers of all families compute and take as compiled models and as exported files.

Prints a table. Each cell holds the largest difference from the model, relative to the largest logit, or to 1, over 3
numbers and 3 sizes of images (one shape where the row says so); the size of the file; and the time for two images, as a
multiple of the model's. The times of a family are taken in turns. Weights are random. What fails says why.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from export import BATCH_SIZES, MARGINS, compare, export, make_images, test_sizes
from exported_models import ExportedModel, wrap
from formats import FORMATS, Run, files_of, onnx_to_int8, onnx_to_openvino
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch import Tensor, nn

SLIDING = {'model.backbone.attn_cfg': dict(type='vil_mm.SlidingWindowAttention')}
#: By family: the config, and what is changed in it. ViL's full attention with a bias serves one size only.
FAMILIES = dict(
    ViL=('configs/vil/vil-nano_1xb64_digits.py', SLIDING),
    L2ViT=('configs/l2vit/l2vit-nano_1xb64_digits.py', {}),
    ViTAEv2=('configs/vitae_v2/vitae-v2-vsa-nano_1xb64_digits.py', {}),
    SwinVSA=('configs/swin_vsa/swin-vsa-nano_1xb64_digits.py', {}),
    DWNet=('configs/dwnet/dwnet-nano_1xb64_digits.py', {}),
)


def build_model(config: str, changes: dict) -> ExportedModel:
    """Build a classifier with random weights that are all large enough to matter."""
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(changes)
    init_default_scope(cfg.default_scope)
    model = wrap(MODELS.build(cfg.model), cfg, raw=False)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 0.1)
    return model


class Rows:
    """What makes the rows of a family's table: what runs the model, and its file.

    Args:
        model (ExportedModel): The model.
        size (int): Height and width of the images that it is timed with.
        folder (Path): Where files go.
    """

    def __init__(self, model: ExportedModel, size: int, folder: Path) -> None:
        self.model, self.size, self.folder = model, size, folder

    def eager(self) -> tuple[Run, None]:
        """Leave the model as it is."""
        return lambda images: list(self.model(images).values()), None

    def compiled(self, dynamic: bool) -> tuple[Run, None]:
        """Compile the model."""
        compiled = torch.compile(self.model, fullgraph=True, dynamic=dynamic)
        return lambda images: list(compiled(images).values()), None

    def exported(self, name: str, dynamic: str = 'size') -> tuple[Run, Path]:
        """Export the model."""
        path = self.folder / f'{dynamic}{FORMATS[name].ending}'
        margins = MARGINS if dynamic == 'size' else (0, 0)
        images = make_images(False, 3, 2, self.size + margins[0], self.size + margins[1])
        # anew for each format: AOTInductor computed wrong results from a program that had been written as ONNX
        program = export(self.model, images, dynamic)
        FORMATS[name].write(program, path, dict(outputs=['logits']))
        return FORMATS[name].open(path), path

    def converted(self, name: str, convert: Callable[[Path, Path], None]) -> tuple[Run, Path]:
        """Turn the ONNX file for all sizes into another format."""
        source = self.folder / 'size.onnx'
        if not source.exists():
            self.exported('onnx')
        path = self.folder / f'converted{FORMATS[name].ending}'
        convert(source, path)
        return FORMATS[name].open(path), path

    def check(self, run: Run, dynamic: str, tolerance: float) -> float:
        """Compare with the model."""
        counts = BATCH_SIZES if dynamic != 'none' else (2,)
        shapes = product(counts, test_sizes(self.size, self.size, dynamic))
        return compare(self.model, run, [make_images(False, 3, count, *size) for count, size in shapes], tolerance)


#: By name: what makes a row, what may differ from call to call, and the tolerance.
ROWS: dict[str, tuple[Callable[[Rows], tuple[Run, Path | None]], str, float]] = {
    'eager': (Rows.eager, 'size', 1e-4),
    # before compiling: einops remembers which kinds of tensors it has seen, and with a new kind, PyTorch compiles anew
    'torch.export': (partial(Rows.exported, name='pt2'), 'size', 1e-4),
    'torch.compile, one shape': (partial(Rows.compiled, dynamic=False), 'none', 1e-4),
    'torch.compile, all sizes': (partial(Rows.compiled, dynamic=True), 'size', 1e-4),
    'ONNX, one shape': (partial(Rows.exported, name='onnx', dynamic='none'), 'none', 1e-4),
    'ONNX, any number of images': (partial(Rows.exported, name='onnx', dynamic='batch'), 'batch', 1e-4),
    'ONNX, all sizes': (partial(Rows.exported, name='onnx'), 'size', 1e-4),
    'AOTInductor': (partial(Rows.exported, name='aoti'), 'size', 1e-4),
    'OpenVINO': (partial(Rows.converted, name='openvino', convert=onnx_to_openvino), 'size', 1e-4),
    'ONNX, int8': (partial(Rows.converted, name='onnx-int8', convert=onnx_to_int8), 'size', math.inf),
}


def take_times(runs: dict[str, Run], images: Tensor, rounds: int) -> dict[str, float]:
    """Time them in turns, so that what else the machine does is shared; the median of each, in seconds."""
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(images)
            times[name].append(time.perf_counter() - start)
    return {name: median(values) for name, values in times.items()}


def measure(family: str, size: int, rounds: int, skipped: list[str]) -> dict[str, dict]:
    """Fill the rows of a family."""
    torch.manual_seed(0)
    torch.compiler.reset()
    results, runs = {}, {}
    with TemporaryDirectory() as folder:
        rows = Rows(build_model(*FAMILIES[family]), size, Path(folder))
        for name, (make, dynamic, tolerance) in ROWS.items():
            if name in skipped:
                continue
            start = time.perf_counter()
            try:
                run, path = make(rows)
                results[name] = dict(difference=rows.check(run, dynamic, tolerance))
                runs[name] = run
            except Exception as error:  # of any kind: the row says which
                results[name] = dict(failure=f'{type(error).__name__}: {error}'.splitlines()[0][:200])
                path = None
            if path is not None:
                results[name]['bytes'] = sum(file.stat().st_size for file in files_of(path))
            print(f'{family}, {name}: {results[name]} in {time.perf_counter() - start:.0f} s', flush=True)
        times = take_times(runs, make_images(False, 3, 2, size, size), rounds)
    for name, seconds in times.items():
        results[name]['time'] = seconds / times['eager']
        results[name]['milliseconds'] = seconds * 1e3
    return results


def table(figures: dict[str, dict]) -> str:
    """Draw the table, with a note for each cell that holds none."""
    rows = list(dict.fromkeys(name for results in figures.values() for name in results))
    lines, notes = [f'| | {" | ".join(figures)} |', f'| --- {"| --- " * len(figures)}|'], []
    for name in rows:
        cells = []
        for family, results in figures.items():
            row = results.get(name, dict(failure='not run'))
            if 'failure' in row:
                notes.append(f'{family}, {name}: {row["failure"]}')
                cells.append(f'note {len(notes)}')
            else:
                size = f'{row["bytes"] / 2**20:.1f} MiB, ' if 'bytes' in row else ''
                cells.append(f'{row["difference"]:.0e}, {size}{row["time"]:.2f}')
        lines.append(f'| {name} | {" | ".join(cells)} |')
    return '\n'.join([*lines, '', *(f'{number}. {note}' for number, note in enumerate(notes, start=1))])


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--families', nargs='+', choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument('--size', type=int, default=128, help='of the images (default: %(default)s)')
    parser.add_argument('--rounds', type=int, default=15, help='timed runs of each (default: %(default)s)')
    parser.add_argument('--skip', nargs='+', default=[], metavar='ROW', help='rows to leave out')
    parser.add_argument('--out', type=Path, help='.json file of all figures; rows that it holds already stay in it')
    args = parser.parse_args()
    unknown = set(args.skip) - (ROWS.keys() - {'eager'})
    if unknown:
        parser.error(f'--skip {sorted(unknown)} must be in {[name for name in ROWS if name != "eager"]}')
    if args.rounds < 1:
        parser.error(f'--rounds {args.rounds} must be at least 1')
    figures = json.loads(args.out.read_text()) if args.out and args.out.exists() else {}
    for family in args.families:
        figures[family] = figures.get(family, {}) | measure(family, args.size, args.rounds, args.skip)
        if args.out:
            args.out.write_text(json.dumps(figures, indent=1))
    print(f'\n{table(figures)}')


if __name__ == '__main__':
    main()
