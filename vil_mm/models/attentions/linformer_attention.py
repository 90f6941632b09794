"""Linformer: attention to a fixed number of learned mixtures of tokens."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...arguments import Size, check_arguments
from ...registry import MODELS
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class LinformerAttention(BaseAttention):
    """All tokens attend to ``num_features`` learned mixtures of the tokens.

    All heads share one matrix that mixes all tokens, global ones included, so
    this attention runs only on the grid that it is built for. It has no
    relative position bias.

    Source: Linformer: Self-Attention with Linear Complexity (arXiv
    2006.04768), as in Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        num_features (int): Number of mixtures. Defaults to 256.
        share_kv (bool): Whether keys and values are mixed by the same matrix.
            Defaults to True.
        **kwargs: Arguments of :class:`BaseAttention`; ``grid_size`` is needed.

    Raises:
        ValueError: If an argument is out of its range.
    """

    arch_feature = 'num_features'

    @check_arguments
    def __init__(
        self, embed_dims: Size, num_heads: Size, *, num_features: Size = 256, share_kv: bool = True, **kwargs
    ) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        if self.grid_size is None:
            raise ValueError('grid_size=None: Linformer attention needs the grid that it is built for')
        self.num_features = num_features
        self.share_kv = share_kv
        num_tokens = self.num_global_tokens + math.prod(self.grid_size)
        self.proj_k = nn.Parameter(torch.zeros(num_tokens, num_features))
        self.proj_v = None if share_kv else nn.Parameter(torch.zeros(num_tokens, num_features))
        self._init_mixtures()

    def _init_mixtures(self) -> None:
        for mixture in (self.proj_k, self.proj_v):
            if mixture is not None:
                nn.init.uniform_(mixture, -(mixture.shape[1] ** -0.5), mixture.shape[1] ** -0.5)

    def init_weights(self) -> None:
        """Initialize the mixtures uniformly within ``1 / sqrt(num_features)``."""
        super().init_weights()
        self._init_mixtures()

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to the mixtures; see :meth:`BaseAttention.forward`.

        Raises:
            ValueError: If ``x`` does not hold ``G + h * w`` tokens, or this
                attention is built for another grid than ``hw_shape``.
        """
        self.check_tokens(x, hw_shape)
        if tuple(hw_shape) != self.grid_size:
            raise ValueError(
                f'hw_shape={tuple(hw_shape)}, but this Linformer attention is built for a grid of {self.grid_size}: '
                'it mixes a fixed number of tokens. Set img_size to the size of the images, or use another attention '
                "in this stage, such as attn_cfg=dict(type='vil_mm.SlidingWindowAttention')."
            )
        q, k, v = self.split_heads(self.qkv(x))
        k = self.proj_k.to(k.dtype).T @ k
        v = (self.proj_k if self.proj_v is None else self.proj_v).to(v.dtype).T @ v
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout_p)
        return self.proj_drop(self.proj(merge_heads(x)))
