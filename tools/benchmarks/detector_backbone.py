"""Benchmark the backbone of ViL-Small's Mask R-CNN on one image of 800x1344 pixels, on the CPU.

It measures time and peak memory beyond the weights, and compares them with the publication's formulation.
"""

import argparse
import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from backbone_models import OURS, PUBLICATION, publication
from measure import ResidentMemory, interleaved_seconds, run_in_child, summary
from mmengine.config import Config

from vil_mm.registry import MODELS

CONFIG = Path(__file__).parents[2] / 'configs/vil/detection/mask-rcnn_vil-small_fpn_1x_coco.py'
SHAPE = 800, 1344


def make_run(name: str) -> Callable[[], object]:
    """Make a call that computes the feature maps of an image."""
    torch.manual_seed(0)
    backbone = MODELS.build(dict(Config.fromfile(CONFIG).model.backbone, init_cfg=None)).eval()
    image = torch.randn(1, 3, *SHAPE)
    context = publication if name == PUBLICATION else nullcontext

    def run() -> object:
        with context(), torch.no_grad():
            return backbone(image)

    return run


def main() -> None:
    if sys.argv[1:] and sys.argv[1].startswith('{'):  # the child that measures memory
        job = json.loads(sys.argv[1])
        torch.set_num_threads(job['threads'])
        run = make_run(job['name'])
        run()
        print(json.dumps(ResidentMemory().peak(run)))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runs = {name: make_run(name) for name in (OURS, PUBLICATION)}
    for ours, published in zip(*(run() for run in runs.values())):
        torch.testing.assert_close(ours, published, rtol=1e-3, atol=1e-3)
    times = interleaved_seconds(runs, torch.device('cpu'), args.repeats, seconds_each=120)
    milliseconds = {name: summary(times[name])['median_ms'] for name in runs}
    memory = {name: run_in_child(Path(__file__), dict(name=name, threads=args.threads)) for name in runs}
    for name in runs:
        print(f'{name}: {milliseconds[name]:.0f} ms, {memory[name] / 2**20:.0f} MiB')
    ratios = (results[PUBLICATION] / results[OURS] for results in (milliseconds, memory))
    print('publication / ours: {:.2f} in time, {:.2f} in memory'.format(*ratios))


if __name__ == '__main__':
    main()
