"""Measure the peak memory of a detector on one image size, with random images and boxes.

Memory is counted beyond the weights, for inference and for a training step: losses, backward pass and gradients. The
optimizer's state comes on top, 8 bytes per parameter for AdamW. On a GPU, it is what PyTorch allocates; on the CPU, the
resident memory of a process of its own.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from measure import ResidentMemory, peak_extra_memory_cuda, run_in_child
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from vil_mm.engine.overrides import add_override_argument, override

NUM_OBJECTS = 8


def make_samples(shape: tuple[int, int], batch: int, device: str) -> dict:
    """Make a batch as a data loader of mmdet yields it."""
    sizes = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0))
    images, samples = [], []
    for _ in range(batch):
        images.append(torch.randint(0, 256, (3, *shape), dtype=torch.uint8, device=device))
        boxes = (torch.rand(NUM_OBJECTS, 2, 2).sort(dim=1)[0] * torch.tensor(shape[::-1])).flatten(1)
        masks = BitmapMasks((torch.rand(NUM_OBJECTS, *shape) < 0.5).to(torch.uint8).numpy(), *shape)
        labels = torch.zeros(NUM_OBJECTS, dtype=torch.long)
        truth = InstanceData(bboxes=boxes, labels=labels).to(device)
        truth.masks = masks
        samples.append(DetDataSample(metainfo=sizes, gt_instances=truth))
    return dict(inputs=images, data_samples=samples)


def make_run(job: dict) -> Callable[[], object]:
    """Make a call that runs a training step or an inference."""
    torch.manual_seed(0)
    cfg = Config.fromfile(job['config'])
    override(cfg, job['cfg_options'])
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).to(job['device']).train(job['train'])
    data = make_samples(tuple(job['shape']), job['batch'], job['device'])
    data = model.data_preprocessor(data, training=job['train'])

    def train() -> None:
        model.zero_grad()  # so that gradients count
        losses = model(**data, mode='loss')
        sum(sum(part) if isinstance(part, list) else part for part in losses.values()).backward()

    def predict() -> None:
        with torch.no_grad():
            model(**data, mode='predict')

    return train if job['train'] else predict


def measure(job: dict) -> int:
    """Measure the peak memory of a job, in bytes, after a run for what is allocated only once."""
    run = make_run(job)
    run()
    return peak_extra_memory_cuda(run) if job['device'] == 'cuda' else ResidentMemory().peak(run)


def main() -> None:
    if sys.argv[1:] and sys.argv[1].startswith('{'):  # the child that measures memory on the CPU
        print(json.dumps(measure(json.loads(sys.argv[1]))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config of a detector')
    parser.add_argument('--shape', type=int, nargs=2, default=(800, 1344), metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--batch', type=int, default=1, help='images (default: %(default)s)')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='(default: %(default)s)')
    add_override_argument(parser)
    args = parser.parse_args()
    job = dict(vars(args), cfg_options=args.cfg_options or {})
    for name, train in (('inference', False), ('training step', True)):
        job['train'] = train
        memory = measure(job) if args.device == 'cuda' else run_in_child(Path(__file__), job)
        print(f'{name:14} {memory / 2**20:8.0f} MiB')


if __name__ == '__main__':
    main()
