"""Relative position bias of grid tokens and of global tokens."""

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from ...arguments import Count, Size, check_arguments, dims
from ...ops import attend, sliding_window_attention
from ...ops.attention import attends_in_one_window
from .loading import ResizableModule


@check_arguments
def resize_bias_table(table: Annotated[Tensor, dims('rows', 'columns', 'heads')], shape: tuple[Size, Size]) -> Tensor:
    """Resample a bias table, bilinearly (half-pixel centers, no antialiasing).

    Args:
        table (Tensor): ``(rows, columns, heads)``.
        shape (tuple[int, int]): Rows and columns of the result.

    Returns:
        Tensor: ``(*shape, heads)``.
    """
    if not isinstance(shape[0], torch.SymInt) and table.shape[:2] == shape:  # a graph serves other sizes too
        return table
    resized = F.interpolate(table.permute(2, 0, 1)[None], size=shape, mode='bilinear', align_corners=False)
    return resized[0].permute(1, 2, 0)


class RelativePositionBias(ResizableModule):
    """The learned biases of one attention.

    Between grid tokens: a table ``(row offsets, column offsets, heads)``. For
    each pair with a global token: one value per head and global token.

    A table of another shape in a checkpoint is resampled. A flat table, as
    published, is read as one of this module's shape if it has as many entries,
    and as a square one otherwise.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        table_shape (tuple[int, int], optional): Numbers of row and column
            offsets: ``2 * size - 1`` for full attention between ``size``
            tokens, ``4 * window_size - 1`` for the sliding window. None: no
            table.
        num_heads (int): Attention heads.
        num_global_tokens (int): Global tokens. Defaults to 0.
    """

    @check_arguments
    def __init__(self, table_shape: tuple[Size, Size] | None, num_heads: Size, num_global_tokens: Count = 0) -> None:
        super().__init__()
        self.table = self.global_local = self.global_global = None
        if table_shape is not None:
            self.table = nn.Parameter(torch.zeros(*table_shape, num_heads))
        if num_global_tokens:
            # [0]: global query and local key, [1]: local query and global key
            self.global_local = nn.Parameter(torch.zeros(2, num_heads, num_global_tokens))
            self.global_global = nn.Parameter(torch.zeros(num_heads, num_global_tokens, num_global_tokens))

    def init_weights(self) -> None:
        """Truncated normal, standard deviation 0.02."""
        super().init_weights()
        for parameter in self.parameters():
            trunc_normal_(parameter, std=0.02)

    def for_global(self, num_local: int, dtype: torch.dtype) -> Tensor:
        """Bias of the global queries to all keys, ``(1, heads, G, G + num_local)``, in a given dtype."""
        to_local = self.global_local[0][..., None].expand(-1, -1, num_local)
        return torch.cat([self.global_global, to_local], dim=-1)[None].to(dtype)

    def for_local(self, hw_shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
        """Bias of the queries of a grid ``(h, w)`` to all keys, ``(1, heads, h * w, G + h * w)``, in a given dtype.

        The table is resampled to the offsets of the grid.
        """
        h, w = hw_shape
        table = resize_bias_table(self.table, (2 * h - 1, 2 * w - 1))
        row, column = (torch.arange(size, device=table.device) for size in hw_shape)
        row = row[:, None] - row + h - 1
        column = column[:, None] - column + w - 1
        # query row, query column, key row, key column, heads
        bias = table[row[:, None, :, None], column[None, :, None, :]]
        bias = bias.flatten(2, 3).flatten(0, 1).permute(2, 0, 1)
        if self.global_local is not None:
            bias = torch.cat([self.to_global[:, None].expand(-1, h * w, -1), bias], dim=-1)
        return bias[None].to(dtype)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        hw_shape: tuple[int, int],
        dropout_p: float = 0.0,
        scale: float | None = None,
    ) -> Tensor:
        """Attend from the tokens of a grid ``(h, w)`` to all of its tokens and to the global ones, with these biases.

        On the CPU, the compiled kernels of the sliding window do this, with one
        window for the whole grid, so that the biases of all pairs of tokens
        need not be gathered.

        Args:
            q (Tensor): Queries, ``(N, heads, h * w, d)``.
            k (Tensor): Keys, ``(N, heads, G + h * w, d)``, global tokens first.
            v (Tensor): Values, of the shape of ``k``.
            hw_shape (tuple[int, int]): ``h`` and ``w``.
            dropout_p (float): Dropout rate of the attention weights. Defaults
                to 0.
            scale (float, optional): Factor of the scores. Defaults to None:
                ``d ** -0.5``.

        Returns:
            Tensor: ``(N, heads, h * w, d)``.
        """
        window_size = max(hw_shape)
        if dropout_p or not attends_in_one_window(q, window_size):
            return attend(q, k, v, self.for_local(hw_shape, q.dtype), dropout_p, scale)
        h, w = hw_shape
        table = resize_bias_table(self.table, (2 * h - 1, 2 * w - 1))
        padding = [2 * window_size - size for size in (w, w, h, h)]  # of offsets that the grid does not have
        return sliding_window_attention(
            q,
            k,
            v,
            hw_shape,
            window_size,
            num_global_tokens=k.shape[2] - q.shape[2],
            bias_table=F.pad(table, [0, 0, *padding]).flatten(0, 1),
            global_bias=self.to_global,
            neighbors='self',
            scale=scale,
            backend='cpu',
        )

    @property
    def flat_table(self) -> Tensor:
        """The table as one row per offset, ``(row offsets * column offsets, heads)``."""
        return self.table.flatten(0, 1)

    @property
    def to_global(self) -> Tensor | None:
        """Bias of a grid query to the global keys, ``(heads, G)``; None without global tokens."""
        return None if self.global_local is None else self.global_local[1]

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        key = prefix + 'table'
        loaded = state_dict.get(key)
        if self.table is None:
            if state_dict.pop(key, None) is not None:
                print_log(f'{key}: left out, this attention has no bias between grid tokens', logger='current')
        elif loaded is not None:
            state_dict[key] = self._fit_table(key, loaded)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def can_resize(self, name: str, tensor: Tensor) -> bool:
        """The table can be resampled; see :meth:`ResizableModule.can_resize`."""
        if (
            name != 'table'
            or tensor.ndim not in (2, 3)
            or not tensor.numel()
            or tensor.shape[-1] != self.table.shape[-1]
        ):
            return False
        return tensor.ndim == 3 or len(tensor) in (self.table[..., 0].numel(), math.isqrt(len(tensor)) ** 2)

    def _fit_table(self, key: str, loaded: Tensor) -> Tensor:
        """Bring a loaded table into the shape of this module's table."""
        rows, columns, heads = self.table.shape
        if loaded.ndim == 2:
            side = math.isqrt(len(loaded))
            if len(loaded) == rows * columns:
                loaded = loaded.unflatten(0, (rows, columns))
            elif side**2 == len(loaded):
                loaded = loaded.unflatten(0, (side, side))
            else:
                raise ValueError(
                    f'{key} is flat and has {len(loaded)} rows, which do not make a square table: its shape is '
                    f'unknown, so it cannot be resized to {(rows, columns)}. Build the model for its grid.'
                )
        if loaded.ndim != 3 or loaded.shape[2] != heads or loaded.shape[:2] == (rows, columns):
            return loaded
        print_log(f'{key}: resized from {tuple(loaded.shape[:2])} to {(rows, columns)} offsets', logger='current')
        return resize_bias_table(loaded, (rows, columns))
