"""Measure the throughput of a config's model, for any task: images per second of the forward pass, without data.

The weights are random. For detectors and segmenters, the forward pass has no post-processing.
"""

import argparse

import torch
from get_flops import build_model, choose_shape, make_inputs
from mmengine.config import Config
from mmengine.device import get_device
from torch.utils.benchmark import Timer

from vil_mm._extras import EXTRAS, require
from vil_mm.engine.options import refuse_roi_align
from vil_mm.engine.overrides import add_override_argument, override


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape', type=int, nargs='+', metavar='SIZE', help='height and width (default: as for get_flops.py)'
    )
    parser.add_argument('--batch-size', type=int, default=64, help='images of a batch (default: 64)')
    parser.add_argument('--repeat-num', type=int, default=30, help='batches to measure (default: 30)')
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16 on the CPU)')
    add_override_argument(parser)
    args = parser.parse_args()
    for name in ('batch_size', 'repeat_num'):
        if getattr(args, name) < 1:
            parser.error(f'--{name.replace("_", "-")} {getattr(args, name)} must be at least 1')
    return args


def main() -> None:
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        override(cfg, args.cfg_options)
    if cfg.get('default_scope') in EXTRAS:
        require(cfg.default_scope)
    shape = choose_shape(cfg, args.shape)
    device = get_device()
    if args.amp and device == 'cpu':
        refuse_roi_align(cfg)
    model = build_model(cfg).to(device)
    images, *samples = make_inputs(cfg, shape, args.batch_size)
    images = images.to(device)

    def run() -> None:
        with torch.inference_mode(), torch.autocast(device, enabled=args.amp):
            model(images, *samples, mode='tensor')

    # waits for a GPU, and warms up
    seconds = Timer('run()', globals=dict(run=run), num_threads=torch.get_num_threads()).timeit(args.repeat_num).mean
    print(f'{args.config}, {args.batch_size} images of {shape[0]}x{shape[1]} on {device}')
    print(f'{args.batch_size / seconds:.1f} images per second, {1e3 * seconds:.1f} ms per batch')
    if device == 'cuda':
        print(f'{torch.cuda.max_memory_allocated() / 2**20:.0f} MiB of GPU memory at most')


if __name__ == '__main__':
    main()
