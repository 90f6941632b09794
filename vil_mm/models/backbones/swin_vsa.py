"""Swin Transformer with varied-size windows."""

from collections.abc import Sequence

from mmpretrain.models import SwinTransformer
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import ConvPositionEncoding, to_tokens
from .attn_cfg import complete_attn_cfg, merge_attn_cfg
from .base_block import BaseBlock
from .vitae_v2 import POSITION_KERNEL_SIZE

ATTENTION = 'vil_mm.VariedSizeWindowAttention'


class SwinVSABlock(BaseBlock):
    """A block of mmpretrain's Swin Transformer with another attention, and a position encoding of its input.

    Args:
        block (nn.Module): The block, whose norms, perceptron and stochastic
            depth are taken.
        attn (nn.Module): The attention, with the interface of ``BaseAttention``.
        embed_dims (int): Channels.
    """

    def __init__(self, block: nn.Module, attn: nn.Module, embed_dims: int) -> None:
        super().__init__(block.with_cp)
        self.position_encoding = ConvPositionEncoding(embed_dims, POSITION_KERNEL_SIZE)
        self.norm1 = block.norm1
        self.attn = attn
        self.drop_path = block.attn.drop
        self.norm2 = block.norm2
        self.ffn = block.ffn

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform tokens ``(N, h * w, C)``, keeping their shape."""
        context = to_tokens(self.position_encoding(x.mT.unflatten(2, hw_shape)))
        x = x + self.drop_path(self.attn(self.norm1(context), hw_shape))
        return self.ffn(self.norm2(x), identity=x)


class SwinVSA(SwinTransformer):
    """Swin Transformer with varied-size windows in place of shifted ones.

    VSA: Learning Varied-Size Window Attention in Vision Transformers (arXiv
    2204.08446) reports such models, but never released them. This one is
    mmpretrain's Swin Transformer with the attention of the released
    ViTAEv2*-VSA, and before it, as there, a convolutional position encoding
    that is part of the attention's input alone.

    Args:
        arch (str | dict): Of ``mmpretrain.models.SwinTransformer``. Defaults to
            ``'tiny'``.
        window_size (int): Height and width of a window, in tokens. Defaults to 7.
        attn_cfg (dict | Sequence[dict | None], optional): Changes to the
            attentions: a dict with ``type`` replaces them all; a dict without
            changes their settings. A sequence has one entry per stage. Defaults
            to None.
        **kwargs: Of ``mmpretrain.models.SwinTransformer``, but not
            ``pad_small_map`` and ``stage_cfgs``: maps may have any size, and
            ``attn_cfg`` has the settings of the attentions.

    Raises:
        ValueError: If an argument is of what is replaced.

    Example:
        >>> import torch
        >>> from vil_mm.models.backbones.swin_vsa import SwinVSA
        >>> model = SwinVSA('tiny', out_indices=(2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 150, 218))]
        [(1, 384, 10, 14), (1, 768, 5, 7)]
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        window_size: int = 7,
        attn_cfg: dict | Sequence[dict | None] | None = None,
        **kwargs,
    ) -> None:
        for name in ('pad_small_map', 'stage_cfgs'):
            if name in kwargs:
                raise ValueError(
                    f'{name}={kwargs[name]!r} is of shifted windows, which are replaced: use window_size and attn_cfg'
                )
        super().__init__(arch, window_size=window_size, **kwargs)
        attn_cfgs = merge_attn_cfg([dict(type=ATTENTION)] * self.num_layers, attn_cfg, ATTENTION)
        for i, (stage, num_heads) in enumerate(zip(self.stages, self.num_heads)):
            embed_dims = self.embed_dims * 2**i
            for j, block in enumerate(stage.blocks):
                attn = complete_attn_cfg(
                    attn_cfgs[i],
                    decided=dict(embed_dims=embed_dims, num_heads=num_heads, num_global_tokens=0),
                    defaults={},
                    offered=dict(window_size=window_size),
                )
                stage.blocks[j] = SwinVSABlock(block, MODELS.build(attn), embed_dims)
        self._freeze_stages()  # the base class does so in train(): too late for DDP

    def train(self, mode: bool = True) -> 'SwinVSA':
        """Set the mode; frozen stages stay in evaluation mode."""
        super().train(mode)
        return self
