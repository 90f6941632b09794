"""The base of attentions within windows that do not overlap."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from einops import repeat
from torch import Tensor

from ...arguments import Size, check_arguments, one_of
from ...ops import attend, fit_windows, join_windows, to_grid
from ..layers import RelativePositionBias
from .base_attention import BaseAttention, merge_heads


class BaseWindowAttention(BaseAttention):
    """Base of the window attentions: grid tokens attend to a window and to the global tokens, global tokens to all.

    A subclass says in :meth:`make_windows` what the windows hold.

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        window_size (int): Height and width of a window, in tokens. Defaults to 7.
        padding (str): Where a grid is padded that windows do not fill:
            ``'end'``, below and on the right, or ``'both'``, evenly, with an
            odd rest at the end. Defaults to ``'end'``.
        relative_position_bias (bool): Whether to add a bias by relative
            position within a window. Defaults to False.
        **kwargs: Arguments of :class:`BaseAttention`.

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
        window_size: Size = 7,
        padding: Annotated[str, one_of('end', 'both')] = 'end',
        relative_position_bias: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, window_size=window_size, **kwargs)
        self.padding = padding
        self.scale = None  # of PyTorch: (embed_dims / num_heads) ** -0.5
        self.relative_position_bias = None
        if relative_position_bias:
            table_shape = (2 * window_size - 1, 2 * window_size - 1)
            self.relative_position_bias = RelativePositionBias(table_shape, num_heads, self.num_global_tokens)

    def make_windows(self, grid: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Make the queries, keys and values of the windows.

        Args:
            grid (Tensor): Grid tokens, ``(N, h, w, in_dims)``.

        Returns:
            tuple[tuple[Tensor, ...], Tensor | None]: Queries, keys and values
            of the windows, each ``(N * y * x, heads, window_size ** 2, d)``;
            and the keys and values of the grid, ``(N, h, w, 2 *
            embed_dims)``, which may be None if there are no global tokens.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within the windows; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        num_global, bias, window = self.num_global_tokens, self.relative_position_bias, self.window_size
        (q, k, v), kv = self.make_windows(to_grid(x[:, num_global:], hw_shape))
        if num_global:
            of_global = self.split_heads(self.qkv(x[:, :num_global]))
            num_windows = math.prod(fit_windows(size, window)[0] for size in hw_shape)
            k, v = (
                torch.cat([repeat(tokens, 'n h g d -> (n w) h g d', w=num_windows), in_windows], dim=2)
                for tokens, in_windows in zip(of_global[1:], (k, v))
            )
        if bias is None:
            out = attend(q, k, v, None, self.dropout_p, self.scale)
        else:
            out = bias.attend(q, k, v, (window, window), self.dropout_p, self.scale)
        out = join_windows(merge_heads(out), hw_shape, self.padding).flatten(1, 2)
        if num_global:
            of_grid = self.split_heads(kv.flatten(1, 2))
            k, v = (torch.cat(pair, dim=2) for pair in zip(of_global[1:], of_grid))
            global_bias = None if bias is None else bias.for_global(out.shape[1], q.dtype)
            global_out = F.scaled_dot_product_attention(
                of_global[0], k, v, global_bias, self.dropout_p, scale=self.scale
            )
            out = torch.cat([merge_heads(global_out), out], dim=1)
        return self.proj_drop(self.proj(out))
