"""Counting multiply-adds, and the image size to count them for."""

import math
from collections.abc import Sequence

import torch
from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..models.attentions import PerformerAttention, SpatialReductionAttention
from ..models.attentions.base_attention import BaseAttention


def count_macs(model: nn.Module, inputs: Sequence, **kwargs) -> dict[str, int]:
    """Count the multiply-adds of matrix products, convolutions and attentions in a forward pass.

    The operations that run are counted one by one. The sliding window counts
    its whole neighborhood for every token, even beyond the border (in plain
    PyTorch, without the compiled op, padded chunks count too). Biases, norms
    and activations do not count.

    Args:
        model (nn.Module): The model, in evaluation mode.
        inputs (Sequence): Positional arguments of its forward pass.
        **kwargs: Keyword arguments of its forward pass.

    Returns:
        dict[str, int]: The counts by module name. That of the whole model is
        ``''``.
    """
    # PyTorch has no formula for its fused attention on the CPU, so it runs as plain matrix products
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs, **kwargs)
    root = type(model).__name__
    macs = {}
    for name, operations in counter.get_flop_counts().items():
        # the counter begins the names of modules with the class name of the model
        own = '' if name in ('Global', root) else name.removeprefix(f'{root}.')
        macs[own] = sum(operations.values()) // 2
    return macs


def count_published_macs(model: nn.Module, inputs: Sequence, **kwargs) -> int:
    """Count multiply-adds as the publication of Vision Longformer does.

    It differs from :func:`count_macs` in two mechanisms. For spatial reduction,
    the publication rounds the size of the reduced map up, while the convolution
    rounds it down. For Performer, it counts one more product and three more
    sums.

    Args:
        model (nn.Module): A model with attentions of this package.
        inputs (Sequence): Positional arguments of its forward pass.
        **kwargs: Keyword arguments of its forward pass.

    Returns:
        int: Multiply-adds.
    """
    differences = []

    def note(attention: nn.Module, args: tuple, output: Tensor) -> None:
        x, hw_shape = args
        batch, tokens, width = x.shape
        if isinstance(attention, PerformerAttention):
            features = len(attention.projection_matrix)
            differences.append(batch * tokens * features * (width + 3 * attention.num_heads))
        if isinstance(attention, SpatialReductionAttention):
            ratio = attention.reduction_ratio
            down, up = (math.prod(f(size / ratio) for size in hw_shape) for f in (math.floor, math.ceil))
            # keys and values, scores and sums
            differences.append(batch * (up - down) * (2 * width**2 + 2 * tokens * width))

    handles = [m.register_forward_hook(note) for m in model.modules() if isinstance(m, BaseAttention)]
    try:
        return count_macs(model, inputs, **kwargs)[''] + sum(differences)
    finally:
        for handle in handles:
            handle.remove()


def image_size(cfg: Config) -> int:
    """Find the size of a classifier's training images, which the last crop or resize of the pipeline sets.

    Args:
        cfg (Config): The classifier's config.

    Returns:
        int: Height and width, which are equal, in pixels.
    """
    steps = cfg.train_dataloader.dataset.pipeline
    # of a random choice, any branch will do
    steps = [inner for step in steps for inner in (step.transforms[0] if 'transforms' in step else [step])]
    return [step[key] for step in steps for key in ('crop_size', 'scale') if key in step][-1]
