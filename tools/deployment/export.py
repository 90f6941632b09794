"""Export a trained model to a file that runs without OpenMMLab, and compare it with the model.

A classifier is exported whole, up to its logits; a segmenter, up to logits of the images' size. Of a detector, what
precedes the choice of boxes is exported: backbone, neck, and the head of one stage or that of the region proposals.
The number of boxes differs from image to image, and RoIAlign of mmcv exists in no other runtime.

The file is run at once: with 3 numbers of images if that may differ, and with 3 sizes if they may. If any output
differs from the model's by more than 1e-4 (with products of int8, 0.2) of its largest value, or of 1 if that is larger,
the file is not kept. One that was there before stays then.
"""

import argparse
import importlib.util
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
import torch.fx.experimental._config
from exported_models import TASKS, ExportedModel, is_bgr, preprocessor_of, why_fixed, wrap
from formats import FORMATS, Run, files_of
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor
from torch.export import Dim, ExportedProgram

from vil_mm.apis import image_size
from vil_mm.engine import launch
from vil_mm.engine.checkpoint import use_safe_checkpoint_loading
from vil_mm.engine.overrides import add_override_argument
from vil_mm.registry import find_class, innermost

BATCH_SIZES = (1, 2, 3)
#: What is added to height and width for an export for all sizes. PyTorch would take sizes that are equal, or maps that
#: are one token high, for a rule.
MARGINS = (64, 160)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--format', choices=FORMATS, default='onnx', help='format of the file (default: %(default)s)')
    parser.add_argument('--out', type=Path, help='file to write (default: beside the checkpoint, with its name)')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='SIZE',
        help='height and width to export for (default of classifiers and segmenters: those of training)',
    )
    parser.add_argument(
        '--raw', action='store_true', help='take RGB images of 0 to 255, (N, H, W, 3), uint8, and normalize them'
    )
    parser.add_argument(
        '--dynamic',
        choices=['none', 'batch', 'size'],
        default='size',
        help='what may differ from call to call: nothing, the number of images, or also their size, which some models '
        'do not allow (default: %(default)s)',
    )
    add_override_argument(parser)
    args = parser.parse_args()
    missing = [name for name in FORMATS[args.format].packages if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"--format {args.format} needs {', '.join(missing)}: pip install 'vil_mm[deploy]'")
    if args.shape and (len(args.shape) > 2 or min(args.shape) < 1):
        parser.error(f'--shape {args.shape} must be one size, or height and width, in pixels')
    ending = FORMATS[args.format].ending
    args.out = args.out or Path(args.checkpoint).with_suffix(ending)
    if not args.out.name.endswith(ending):
        parser.error(f'--out {args.out} must end in {ending}')
    return args


def find_classes(cfg: Config, checkpoint: dict) -> list[str] | None:
    """Find the names of the classes: those that the checkpoint was trained with, or else those of the test set."""
    saved = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    classes = saved.get('classes') or saved.get('CLASSES')
    for dataset in innermost((cfg.get('test_dataloader') or {}).get('dataset') or {})[:1]:
        kind = find_class(dataset.get('type'), DATASETS, cfg.get('default_scope'))
        own = getattr(kind, 'METAINFO', {})
        classes = classes or (dataset.get('metainfo') or {}).get('classes') or own.get('classes')
    return [str(name) for name in classes] if classes else None


def describe(cfg: Config, args: argparse.Namespace, checkpoint: dict) -> dict:
    """Collect what a user of the file must know; ``infer.py`` reads it."""
    preprocessor = preprocessor_of(cfg)
    datasets = innermost((cfg.get('test_dataloader') or {}).get('dataset') or {})
    return dict(
        model=Path(args.config).stem,
        task={'mmpretrain': 'classification', 'mmdet': 'detection', 'mmseg': 'segmentation'}[cfg.default_scope],
        classes=find_classes(cfg, checkpoint),
        raw=args.raw,
        channels='BGR' if is_bgr(preprocessor) else 'RGB',
        mean=list(preprocessor.get('mean') or [0.0]),
        std=list(preprocessor.get('std') or [1.0]),
        data_preprocessor=preprocessor,
        pipeline=[dict(step) for step in datasets[0].get('pipeline') or ()] if datasets else [],
    )


def make_images(raw: bool, channels: int, batch: int, height: int, width: int) -> Tensor:
    """Draw random images, as the file takes them."""
    if raw:
        return torch.randint(0, 256, (batch, height, width, channels), dtype=torch.uint8)
    return torch.randn(batch, channels, height, width)


def export(model: ExportedModel, images: Tensor, dynamic: str) -> ExportedProgram:
    """Make a program of PyTorch's own ops."""
    axes = {'none': (), 'batch': (0,), 'size': (0, 1, 2) if model.raw else (0, 2, 3)}[dynamic]
    # without it, the program would serve only sizes whose maps are one token high, or only others
    with torch.fx.experimental._config.patch(backed_size_oblivious=True):
        return torch.export.export(model, (images,), dynamic_shapes=(dict.fromkeys(axes, Dim.DYNAMIC),), strict=False)


def compare(model: ExportedModel, run: Run, batches: list[Tensor], tolerance: float) -> float:
    """Run a file and the model, and find the largest difference of an output relative to its largest value, or to 1.

    Raises:
        ValueError: If shapes differ, or a difference is above the tolerance.
    """
    worst = 0.0
    for images in batches:
        for (name, x), y in zip(model(images).items(), run(images), strict=True):
            what = f'{name} of images {tuple(images.shape)}'
            if x.shape != y.shape:
                raise ValueError(f'{what} has shape {tuple(y.shape)}, must be {tuple(x.shape)}')
            error = float((x - y).abs().max() / x.abs().max().clamp(min=1))
            if not error <= tolerance:
                raise ValueError(f'{what} differs by {error:.1e}, must be at most {tolerance}')
            worst = max(worst, error)
    return worst


def test_sizes(height: int, width: int, dynamic: str) -> list[tuple[int, int]]:
    """List the sizes of images that a file is run with: if they may differ, an odd and a wide one too."""
    others = [(height * 3 // 4 | 1, width * 5 // 8 | 1), (height // 2 + 2, width + 6)]
    return [(height, width), *(others if dynamic == 'size' else [])]


def build(cfg: Config, checkpoint: str, raw: bool) -> tuple[ExportedModel, dict]:
    """Build what is exported, with its weights; also returns the checkpoint."""
    model = MODELS.build({**cfg.model, 'data_preprocessor': preprocessor_of(cfg)})
    loaded = load_checkpoint(model, checkpoint, map_location='cpu', strict=True)
    return wrap(model, cfg, raw), loaded


def export_file(cfg: Config, args: argparse.Namespace) -> str:
    """Write the file and compare it with the model.

    Returns:
        str: What was written.

    Raises:
        ValueError: If the file does not compute what the model computes. It is
            not kept then.
    """
    try:
        height, width = (args.shape[0], args.shape[-1]) if args.shape else image_size(cfg)
    except ValueError as error:
        raise ValueError(f'--shape is needed: {error}') from error
    if cfg.get('default_scope') not in TASKS:
        raise ValueError(f'default_scope={cfg.get("default_scope")!r} of the config must be one of {list(TASKS)}')
    model, checkpoint = build(cfg, args.checkpoint, args.raw)
    channels = cfg.model.backbone.get('in_channels', 3)
    make = partial(make_images, args.raw, channels)
    dynamic, images = args.dynamic, make(1 if args.dynamic == 'none' else 2, height, width)
    outputs = list(model(images))
    if dynamic == 'size' and (reason := why_fixed(model, images)):
        dynamic = 'batch'
        print(f'The images of the file have a fixed size, {height}x{width}: {reason}')
    if dynamic == 'size':
        images = make(2, height + MARGINS[0], width + MARGINS[1])
    description = dict(describe(cfg, args, checkpoint), outputs=outputs, dynamic=dynamic, size=[height, width])
    file_format = FORMATS[args.format]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    counts = BATCH_SIZES if dynamic != 'none' else (1,)
    batches = [make(count, *size) for count, size in product(counts, test_sizes(height, width, dynamic))]
    with TemporaryDirectory(dir=args.out.parent) as folder:
        path = Path(folder, args.out.name)
        file_format.write(export(model, images, dynamic), path, description)
        worst = compare(model, file_format.open(path), batches, file_format.tolerance)
        for file in files_of(path):
            file.replace(args.out.parent / file.name)
    what = {'none': 'one shape', 'batch': 'any number of images', 'size': 'any number and size of images'}[dynamic]
    size = sum(path.stat().st_size for path in files_of(args.out)) / 2**20
    return (
        f'{args.out}: {size:.1f} MiB, for {what}; with {len(batches)} batches of images, it differs from the model by '
        f'at most {worst:.1e}'
    )


@torch.no_grad()
def main() -> None:
    args = parse_args()
    use_safe_checkpoint_loading()
    cfg = launch.load_config(args.config, None, 'none', args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    try:
        print(export_file(cfg, args))
    except ValueError as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    launch.run(main)
