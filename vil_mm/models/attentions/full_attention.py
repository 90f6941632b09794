"""Full attention."""

import torch
from torch import Tensor

from ...arguments import Size, check_arguments
from ...ops import attend
from ...registry import MODELS
from ..layers import RelativePositionBias
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class FullAttention(BaseAttention):
    """Self-attention between all tokens, with or without a relative position bias.

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        relative_position_bias (bool): Whether to add a bias by relative
            position. Defaults to False.
        resize_bias (bool): Whether the bias is resampled for grids of another
            size than ``grid_size``. In the publication, full attention with a
            bias runs on one size only. Defaults to False.
        skip_values (bool): Whether the values are added to the output, as a
            residual where ``in_dims`` differs from ``embed_dims``. The scores
            are then scaled by the width of the input per head, as in T2T-ViT
            (arXiv 2101.11986) and ViTAEv2. Defaults to False.
        **kwargs: Arguments of :class:`BaseAttention`.

    Raises:
        ValueError: If ``relative_position_bias`` is set without ``grid_size``.
    """

    has_relative_position_bias = True

    @check_arguments
    def __init__(
        self,
        embed_dims: Size,
        num_heads: Size,
        *,
        relative_position_bias: bool = False,
        resize_bias: bool = False,
        skip_values: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        self.resize_bias = resize_bias
        self.skip_values = skip_values
        self.relative_position_bias = None
        if relative_position_bias:
            if self.grid_size is None:
                raise ValueError('grid_size=None: relative_position_bias=True needs the grid that it is built for')
            table_shape = (2 * self.grid_size[0] - 1, 2 * self.grid_size[1] - 1)
            self.relative_position_bias = RelativePositionBias(table_shape, num_heads, self.num_global_tokens)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to all tokens; see :meth:`BaseAttention.forward`.

        Raises:
            ValueError: If ``x`` does not hold ``G + h * w`` tokens, or the bias
                is built for another grid than ``hw_shape``.
        """
        self.check_tokens(x, hw_shape)
        if self.relative_position_bias is not None and tuple(hw_shape) != self.grid_size and not self.resize_bias:
            raise ValueError(
                f'hw_shape={tuple(hw_shape)}, but the relative position bias of this full attention is built for '
                f'a grid of {self.grid_size}. To run on other sizes, use the sliding window in this stage '
                "(attn_cfg=dict(type='vil_mm.SlidingWindowAttention'), and s1 in an arch string), an absolute position "
                '(absolute_position=True), or a resampled bias (resize_bias=True in the attn_cfg of this stage); '
                'to run on one other size, set img_size.'
            )
        q, k, v = self.split_heads(self.qkv(x))
        x = self.proj_drop(self.proj(self._attend(q, k, v, hw_shape)))
        return x + merge_heads(v) if self.skip_values else x

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend from all tokens; returns ``(N, G + h * w, C)``."""
        bias, num_global = self.relative_position_bias, self.num_global_tokens
        scale = (self.in_dims / self.num_heads) ** -0.5 if self.skip_values else None
        if bias is None:
            return merge_heads(attend(q, k, v, None, self.dropout_p, scale))
        local = merge_heads(bias.attend(q[:, :, num_global:], k, v, hw_shape, self.dropout_p, scale))
        if not num_global:
            return local
        global_bias = bias.for_global(local.shape[1], q.dtype)
        shared = merge_heads(attend(q[:, :, :num_global], k, v, global_bias, self.dropout_p, scale))
        return torch.cat([shared, local], dim=1)
