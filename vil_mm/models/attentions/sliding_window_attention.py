"""Sliding-window attention with global tokens, as in Vision Longformer."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ...arguments import Size, between, check_arguments
from ...ops import sliding_window_attention
from ...ops.backends import check_backend
from ...ops.checks import MAX_WINDOW_SIZE, NEIGHBORS, check_mask_and_neighbors
from ...registry import MODELS
from ..layers import Linear, RelativePositionBias
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class SlidingWindowAttention(BaseAttention):
    """Grid tokens attend to a sliding window and to the global tokens; global tokens attend to all tokens.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        window_size (int): Height and width of a chunk, in tokens; a token
            attends to the 3x3 chunks around its own. Defaults to 7.
        mask (str): ``'block'``, ``'exact'``, ``'cyclic'`` or ``'torus'``, see
            :func:`vil_mm.ops.sliding_window_attention`. On maps whose sides are
            not multiples of ``window_size``, ``'cyclic'`` lets zero padding
            take part in the attention, as the published code does, and
            ``'torus'`` does not. Defaults to ``'block'``.
        neighbors (str | int): ``'all'``, ``'self'`` or 1 to 8, see
            :func:`vil_mm.ops.sliding_window_attention`; or ``'random'``, the
            random shift: each forward pass in training draws one of the eight
            neighbors, and evaluation uses all. It is drawn with PyTorch's CPU
            generator, so that recomputation and processes with the same seed
            draw the same one. Defaults to ``'all'``.
        share_global_proj (bool): Whether the global tokens share the grid
            tokens' projections of queries, keys, values and output, instead of
            having their own. Defaults to True.
        only_global (bool): Whether grid tokens attend only to the global tokens
            (the publication's "global memory"). As published, these have no
            bias, even with ``relative_position_bias=True``, which then biases
            only the global tokens' attention. Defaults to False.
        relative_position_bias (bool): Whether to add a relative position bias.
            Defaults to False.
        backend (str, optional): What computes the sliding window, one of
            ``vil_mm.ops.BACKENDS``. Defaults to None: the environment
            variable ``VIL_MM_BACKEND``, or else the fastest.
        **kwargs: Arguments of :class:`BaseAttention`; ``attn_drop`` must be 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    has_relative_position_bias = True
    arch_feature = 'window_size'

    @check_arguments
    def __init__(
        self,
        embed_dims: Size,
        num_heads: Size,
        *,
        window_size: Annotated[int, between(1, MAX_WINDOW_SIZE)] = 7,
        mask: str = 'block',
        neighbors: str | int = 'all',
        share_global_proj: bool = True,
        only_global: bool = False,
        relative_position_bias: bool = False,
        backend: str | None = None,
        qkv_bias: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, window_size=window_size, qkv_bias=qkv_bias, **kwargs)
        check_mask_and_neighbors(mask, neighbors, (*NEIGHBORS, 'random'))
        check_backend(backend)
        if self.attn_drop:
            raise ValueError(
                f'attn_drop={self.attn_drop} must be 0: the sliding window has no dropout of attention weights'
            )
        if only_global and not self.num_global_tokens:
            raise ValueError('only_global=True needs global tokens: num_global_tokens=0 must be at least 1')
        self.mask = mask
        self.neighbors = neighbors
        self.share_global_proj = share_global_proj
        self.only_global = only_global
        self.backend = backend
        self.q_global = self.kv_global = self.proj_global = None
        if self.num_global_tokens and not share_global_proj:
            self.q_global = Linear(self.in_dims, embed_dims, bias=qkv_bias)
            self.kv_global = Linear(self.in_dims, 2 * embed_dims, bias=qkv_bias)
            self.proj_global = Linear(embed_dims, embed_dims)
        self.relative_position_bias = None
        if relative_position_bias:
            side = 4 * window_size - 1
            self.relative_position_bias = RelativePositionBias(
                None if only_global else (side, side), num_heads, self.num_global_tokens
            )

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to the window and to the global tokens; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        num_global = self.num_global_tokens
        q, k, v = self.split_heads(self.qkv(x))
        local = merge_heads(self._attend_local(q[:, :, num_global:], k, v, hw_shape))
        if not num_global:
            return self.proj_drop(self.proj(local))
        if self.q_global is None:
            shared = self._attend_global(q[:, :, :num_global], k, v)
            return self.proj_drop(self.proj(torch.cat([merge_heads(shared), local], dim=1)))
        (q,) = self.split_heads(self.q_global(x[:, :num_global]))
        k, v = self.split_heads(self.kv_global(x))
        own = self.proj_global(merge_heads(self._attend_global(q, k, v)))
        return self.proj_drop(torch.cat([own, self.proj(local)], dim=1))

    def _attend_global(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from the global tokens; returns ``(N, heads, G, d)``."""
        num_local, bias = k.shape[2] - self.num_global_tokens, self.relative_position_bias
        mask = None if bias is None else bias.for_global(num_local, q.dtype)
        return F.scaled_dot_product_attention(q, k, v, mask)

    def _attend_local(self, q: Tensor, k: Tensor, v: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend from the grid tokens; returns ``(N, heads, h * w, d)``."""
        num_global = self.num_global_tokens
        if self.only_global:
            return F.scaled_dot_product_attention(q, k[:, :, :num_global], v[:, :, :num_global])
        bias = self.relative_position_bias
        return sliding_window_attention(
            q,
            k,
            v,
            hw_shape,
            self.window_size,
            num_global_tokens=num_global,
            bias_table=None if bias is None else bias.flat_table,
            global_bias=None if bias is None else bias.to_global,
            mask=self.mask,
            neighbors=self._draw_neighbors(),
            backend=self.backend,
        )

    def _draw_neighbors(self) -> str | int:
        if self.neighbors != 'random':
            return self.neighbors
        return int(torch.randint(1, 9, (), device='cpu')) if self.training else 'all'
