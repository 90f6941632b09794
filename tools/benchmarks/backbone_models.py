"""The backbones that are compared, and what is done with them."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest.mock import patch

import torch
import torch.nn.functional as F
from attention_methods import prepare_publication
from mmengine.registry import init_default_scope
from problem import Inputs, Shape
from torch import Tensor, nn

from vil_mm.models.attentions import sliding_window_attention as attention_module
from vil_mm.registry import MODELS

OURS, RECOMPUTING = 'sliding window', 'sliding window, perceptrons recomputed'
COMPILED = 'sliding window, torch.compile'
PUBLICATION, SWIN = "sliding window, publication's formulation", 'Swin-Tiny'
GLOBAL_ARCH = (
    'l1,h3,d96,n1,s1,g256,p4,f7_l2,h3,d192,n2,s1,g256,p2,f7_l3,h6,d384,n8,s1,g64,p2,f7_l4,h12,d768,n1,s1,g16,p2,f7'
)
APE = dict(absolute_position=True)
#: Settings of ViL-Small, by the name of the mechanism; Swin-Tiny is mmpretrain's.
VIL_SMALL = {
    OURS: dict(),
    RECOMPUTING: dict(with_cp='ffn'),
    COMPILED: dict(),
    PUBLICATION: dict(),
    'full': dict(attn_cfg=dict(type='vil_mm.FullAttention'), **APE),
    'Linformer': dict(attn_cfg=dict(type='vil_mm.LinformerAttention', num_features=256), **APE),
    'Performer': dict(attn_cfg=dict(type='vil_mm.PerformerAttention', num_features=256), **APE),
    'spatial reduction': dict(
        attn_cfg=[*(dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=ratio) for ratio in (8, 4, 2)), None],
        **APE,
    ),
    'global memory': dict(arch=GLOBAL_ARCH, attn_cfg=dict(only_global=True)),
}
NAMES = [*VIL_SMALL, SWIN]
INFERENCE, TRAINING = 'inference', 'training step'


def build(name: str, size: int) -> nn.Module:
    """Build a backbone for images of ``size`` pixels, which returns the features of its last stage."""
    torch.manual_seed(0)
    if name == SWIN:
        init_default_scope('mmpretrain')
        return MODELS.build(dict(type='mmpretrain.SwinTransformer', arch='tiny', img_size=size, pad_small_map=True))
    return MODELS.build(dict(type='vil_mm.ViL', arch='small', img_size=size, out_indices=(3,)) | VIL_SMALL[name])


def explicit_softmax(
    q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0, **kwargs
) -> Tensor:
    """Attention in three steps, without a fused kernel."""
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    weights = (scores if attn_mask is None else scores + attn_mask).softmax(dim=-1)
    return F.dropout(weights, dropout_p) @ v


def rolled_products(q: Tensor, k: Tensor, v: Tensor, hw_shape: tuple[int, int], window_size: int, **kwargs) -> Tensor:
    """The sliding window as the publication computes it."""
    shape = Shape(*q.shape[:2], q.shape[3], *hw_shape, window_size, kwargs['num_global_tokens'])
    return prepare_publication(shape, q.device)(Inputs(q, k, v, kwargs['bias_table'], kwargs['global_bias']))


@contextmanager
def publication() -> Iterator[None]:
    """Have all attentions computed as the publication does."""
    with (
        patch.dict(os.environ, VIL_MM_BACKEND='pytorch'),
        patch.object(attention_module, 'sliding_window_attention', rolled_products),
        patch.object(F, 'scaled_dot_product_attention', explicit_softmax),
    ):
        yield


def make_run(
    name: str,
    size: int,
    batch: int,
    direction: str,
    device: torch.device | str = 'cpu',
    dtype: torch.dtype = torch.float32,
) -> Callable[[], object]:
    """Make a call that runs a backbone: features of a batch, or a step of training with AdamW.

    Other data types than float32 are those of autocast.
    """
    model = build(name, size).to(device)
    model.train(direction == TRAINING)
    if name == COMPILED:
        torch.compiler.reset()  # or earlier sizes would count toward the limit of recompilations
        model.compile(fullgraph=True)
    images = torch.randn(batch, 3, size, size, device=device)
    context = publication if name == PUBLICATION else nullcontext
    autocast = partial(torch.autocast, images.device.type, dtype, enabled=dtype != torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def infer() -> Tensor:
        with context(), torch.no_grad(), autocast():
            return model(images)[-1]

    def train() -> None:
        with context():
            with autocast():
                loss = model(images)[-1].square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return infer if direction == INFERENCE else train
