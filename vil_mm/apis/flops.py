"""Counting multiply-adds, and the image size to count them for."""

import math
from collections.abc import Sequence
from typing import Annotated

import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS, DefaultScope
from mmengine.utils import to_2tuple
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..arguments import NOT_EMPTY, check_arguments
from ..models.attentions import PerformerAttention, SpatialReductionAttention
from ..models.attentions.base_attention import BaseAttention
from ..registry import innermost

Inputs = Annotated[Sequence, NOT_EMPTY]


@check_arguments
def count_macs(model: nn.Module, inputs: Inputs, **kwargs) -> dict[str, int]:
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


@check_arguments
def count_published_macs(model: nn.Module, inputs: Inputs, **kwargs) -> int:
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


@check_arguments
def image_size(cfg: Config) -> tuple[int, int]:
    """Find the size of the images that a model's multiply-adds are counted for.

    For a detector or segmenter, it is that of the largest image, wider than
    high, that the pipeline of testing makes, with the padding; for a segmenter
    that does not resize, that of training. For a classifier, the pipeline of
    training, or else of validation or testing, is run on images of two sizes:
    it tells if both come out in the same one.

    Args:
        cfg (Config): The config.

    Returns:
        tuple[int, int]: Height and width, in pixels.

    Raises:
        ValueError: If the config does not give all images one size.
    """
    scope = cfg.get('default_scope', 'mmpretrain')
    if scope in ('mmdet', 'mmseg'):
        preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
        divisor = preprocessor.get('pad_size_divisor') or (preprocessor.get('test_cfg') or {}).get('size_divisor') or 1
        size = _tested_size(cfg) or (scope == 'mmseg' and (preprocessor.get('size') or cfg.get('crop_size')))
        if size:
            height, width = (math.ceil(side / divisor) * divisor for side in to_2tuple(size))
            return height, width
    if scope == 'mmpretrain':
        channels = cfg.model.backbone.get('in_channels', 3)
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
            dataset = next(iter(innermost((cfg.get(loader) or {}).get('dataset') or {})), {})
            try:
                sizes = {output_size(dataset.get('pipeline') or (), (*size, channels)) for size in PROBES}
            except Exception as error:  # of any kind: steps may be the user's own
                raise ValueError(f'the pipeline of {loader} does not run on a blank image: {error!r}') from error
            if len(sizes) == 1:
                return sizes.pop()
    raise ValueError('the config does not give all images one size')


def _tested_size(cfg: Config) -> tuple[int, int] | None:
    """Find the height and width that images are resized to in testing; wider than high, if they keep their ratio."""
    dataset = next(iter(innermost((cfg.get('test_dataloader') or {}).get('dataset') or {})), {})
    for step in dataset.get('pipeline') or ():
        kind = step['type']
        if getattr(kind, '__name__', str(kind)).endswith('Resize') and step.get('scale'):
            width, height = to_2tuple(step['scale'])
            return (min(width, height), max(width, height)) if step.get('keep_ratio') else (height, width)
    return None


#: Heights and widths of the images that a pipeline is run on.
PROBES = ((411, 523), (602, 478))


def output_size(pipeline: Sequence[dict], shape: tuple[int, int, int]) -> tuple[int, int]:
    """Run a classifier's pipeline on a blank image instead of a loaded one.

    Args:
        pipeline (Sequence[dict]): Configs of the steps.
        shape (tuple[int, int, int]): The shape of the image, ``(H, W, C)``.

    Returns:
        tuple[int, int]: Height and width of the result, in pixels.
    """
    image = torch.zeros(shape, dtype=torch.uint8).squeeze(2).numpy()
    results = dict(img=image, img_shape=shape[:2], ori_shape=shape[:2], gt_label=0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        steps = [TRANSFORMS.build(step) for step in pipeline]
    results = Compose([step for step in steps if not type(step).__name__.startswith('Load')])(results)
    return tuple(results['inputs'].shape[1:] if 'inputs' in results else results['img'].shape[:2])
