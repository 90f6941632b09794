"""Attention within windows that do not overlap."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from ...registry import MODELS
from ..layers import RelativePositionBias, attend_in_windows, pad_to_windows
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class WindowAttention(BaseAttention):
    """Grid tokens attend to their window and to the global tokens, global tokens to all.

    The grid is zero-padded to whole windows before the projection, and the
    padding is not masked, as in L2ViT and ViTAEv2: its keys and values are the
    projection's bias, and take part. The windows are not shifted.

    Source: Swin Transformer (arXiv 2103.14030), without the shift; the
    publications on L2ViT and ViTAEv2 (arXiv 2202.10108).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        window_size (int): Height and width of a window, in tokens. Defaults to 7.
        padding (str): Where the grid is padded: ``'end'``, below and on the
            right, or ``'both'``, evenly, an odd rest at the end. Defaults to
            ``'end'``.
        relative_position_bias (bool): Whether to add a bias by relative
            position. Defaults to False.
        **kwargs: Of :class:`BaseAttention`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        window_size: int = 7,
        padding: str = 'end',
        relative_position_bias: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        if window_size < 1:
            raise ValueError(f'window_size={window_size} must be at least 1')
        if padding not in ('end', 'both'):
            raise ValueError(f"padding={padding!r} is not one of 'end', 'both'")
        self.window_size = window_size
        self.padding = padding
        self.relative_position_bias = None
        if relative_position_bias:
            table_shape = (2 * window_size - 1, 2 * window_size - 1)
            self.relative_position_bias = RelativePositionBias(table_shape, num_heads, self.num_global_tokens)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within the windows; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        num_global, window = self.num_global_tokens, self.window_size
        grid, (top, left) = pad_to_windows(x[:, num_global:].unflatten(1, hw_shape), window, self.padding)
        rows, columns = grid.shape[1] // window, grid.shape[2] // window
        q, k, v = rearrange(
            self.qkv(grid),
            'n (y i) (x j) (p h d) -> p (n y x) h (i j) d',
            p=3,
            i=window,
            j=window,
            h=self.num_heads,
        ).unbind(0)
        drop = self.attn_drop if self.training else 0.0

        bias = None
        if self.relative_position_bias is not None:
            bias = self.relative_position_bias.of_all_queries((window, window))[None, :, num_global:].to(q.dtype)
        keys, values = k, v
        if num_global:
            global_q, global_k, global_v = self.split_heads(self.qkv(x[:, :num_global]))
            keys, values = (
                torch.cat([repeat(of_global, 'n h g d -> (n w) h g d', w=rows * columns), of_window], dim=2)
                for of_global, of_window in ((global_k, k), (global_v, v))
            )
        out = attend_in_windows(q, keys, values, bias, dropout_p=drop)

        def to_grid(tokens: Tensor) -> Tensor:
            """Windows to the tokens of the grid, without its padding."""
            tokens = rearrange(tokens, '(n y x) h (i j) d -> n (y i) (x j) h d', y=rows, x=columns, i=window)
            return tokens[:, top : top + hw_shape[0], left : left + hw_shape[1]].flatten(1, 2)

        out = to_grid(out).flatten(2)
        if num_global:
            keys, values = (
                torch.cat([of_global, to_grid(of_window).transpose(1, 2)], dim=2)
                for of_global, of_window in ((global_k, k), (global_v, v))
            )
            if bias is not None:
                bias = self.relative_position_bias.of_global_queries(out.shape[1])[None].to(q.dtype)
            global_out = F.scaled_dot_product_attention(global_q, keys, values, bias, dropout_p=drop)
            out = torch.cat([merge_heads(global_out), out], dim=1)
        return self.proj_drop(self.proj(out))
