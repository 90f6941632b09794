"""Linformer's attention: keys and values projected to a fixed number."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import skip_other_shapes
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class LinformerAttention(BaseAttention):
    """All tokens attend to ``num_features`` learned mixtures of the tokens.

    The mixtures are one matrix over all tokens, global ones included, that all
    heads share. So this attention knows the grid that it is built for alone.
    It has no relative position bias.

    Source: Linformer: Self-Attention with Linear Complexity (arXiv
    2006.04768), as in Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        grid_size (tuple[int, int]): Height and width of the grid, in tokens.
        num_features (int): Mixtures that are attended to. Defaults to 256.
        share_kv (bool): Whether keys and values are mixed alike. Defaults to
            True.
        **kwargs: Of :class:`BaseAttention`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        grid_size: tuple[int, int],
        num_features: int = 256,
        share_kv: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        if num_features < 1:
            raise ValueError(f'num_features={num_features} must be at least 1')
        self.grid_size = tuple(grid_size)
        num_tokens = self.num_global_tokens + math.prod(grid_size)
        self.proj_k = nn.Parameter(torch.zeros(num_tokens, num_features))
        self.proj_v = None if share_kv else nn.Parameter(torch.zeros(num_tokens, num_features))
        self._init_mixtures()

    def _init_mixtures(self) -> None:
        for mixture in (self.proj_k, self.proj_v):
            if mixture is not None:
                nn.init.uniform_(mixture, -(mixture.shape[1] ** -0.5), mixture.shape[1] ** -0.5)

    def init_weights(self) -> None:
        """Mixtures: uniform within ``1 / sqrt(num_features)``."""
        super().init_weights()
        self._init_mixtures()

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to the mixtures; see :meth:`BaseAttention.forward`.

        Raises:
            ValueError: If ``x`` does not hold ``G + h * w`` tokens, or
                ``hw_shape`` is not the grid that this attention is built for.
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
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop if self.training else 0.0)
        return self.proj_drop(self.proj(merge_heads(x)))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        skip_other_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
