"""Benchmark the other families' tiny models against their published formulations, on the CPU.

It times inference and a training step of both formulations in turn, and the share of our time spent in matrix
products and convolutions, which no formulation avoids.
"""

import argparse
import os
from collections.abc import Callable
from statistics import median
from unittest.mock import patch

import torch
from measure import interleaved_seconds
from sibling_formulations import dwnet, l2vit, vitae_v2
from torch import nn
from torch.profiler import ProfilerActivity, profile

from vil_mm.registry import MODELS

SIBLINGS = {
    'L2ViT-Tiny': (l2vit, dict(type='vil_mm.L2ViT', arch='tiny')),
    'ViTAEv2*-VSA-S': (vitae_v2, dict(type='vil_mm.ViTAEv2', arch='vsa-small')),
    'DWNet-Tiny': (dwnet, dict(type='vil_mm.DWNet', arch='tiny')),
    'Dynamic-DWNet-Tiny': (dwnet, dict(type='vil_mm.DWNet', arch='tiny', conv_type='dynamic')),
    'Inhomogeneous Dynamic-DWNet-Tiny': (dwnet, dict(type='vil_mm.DWNet', arch='tiny', conv_type='inhomogeneous')),
}
#: What PyTorch's profiler calls matrix products and convolutions.
PRODUCTS = {
    'aten::mm',
    'aten::addmm',
    'aten::bmm',
    'aten::mkldnn_convolution',
    'aten::convolution_backward',
    'mkldnn::_linear_pointwise',
}
#: ``VIL_MM_BACKEND`` of a formulation: the publications have plain PyTorch.
BACKENDS = {'ours': None, 'publication': 'pytorch'}


def make_run(model: nn.Module, images: torch.Tensor, training: bool, backend: str | None) -> Callable[[], object]:
    """Make a call that runs a backbone: features of a batch, or a step of training without the optimizer's."""
    context = patch.dict(os.environ, {} if backend is None else {'VIL_MM_BACKEND': backend})

    def infer() -> object:
        with context, torch.no_grad():
            return model(images)

    def train() -> None:
        with context:
            model.zero_grad()
            sum(x.square().mean() for x in model(images)).backward()

    model.train(training)
    run = train if training else infer
    run()
    return run


def share_of_products(run: Callable[[], object]) -> float:
    """The part of a call's time that goes into matrix products and convolutions."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        run()
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    return sum(times.get(name, 0) for name in PRODUCTS) / sum(times.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', choices=list(SIBLINGS), default=list(SIBLINGS))
    parser.add_argument('--size', type=int, default=224, help='height and width of the images (%(default)s)')
    parser.add_argument('--batch', type=int, default=4)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    images = torch.randn(args.batch, 3, args.size, args.size)
    columns = [
        f'{mode}{part}' for mode in ('inference', 'training step') for part in (': ours', ', products', ', ratio')
    ]
    print(f'| model | {" | ".join(columns)} |')
    print(f'| --- |{" --: |" * len(columns)}')
    for name in args.models:
        family, cfg = SIBLINGS[name]
        torch.manual_seed(0)
        ours = MODELS.build(dict(cfg, drop_path_rate=0.0))
        ours.init_weights()
        models = {'ours': ours, 'publication': family.publication(ours)}
        cells = []
        for training in (False, True):
            runs = {key: make_run(model, images, training, BACKENDS[key]) for key, model in models.items()}
            seconds = interleaved_seconds(runs, torch.device('cpu'), args.repeats, seconds_each=60)
            times = {key: median(samples) for key, samples in seconds.items()}
            share = share_of_products(runs['ours'])
            cells += [f'{1e3 * times["ours"]:.0f} ms', f'{share:.0%}', f'{times["publication"] / times["ours"]:.2f}']
        print(f'| {name} | {" | ".join(cells)} |', flush=True)


if __name__ == '__main__':
    main()
