"""Relative position bias of grid tokens and of global tokens."""

import math

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from .loading import skip_other_shapes


def resize_bias_table(table: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample a bias table, bilinearly (half-pixel centres, no antialiasing).

    Args:
        table (Tensor): ``(rows, columns, heads)``.
        shape (tuple[int, int]): Rows and columns of the result.

    Returns:
        Tensor: ``(*shape, heads)``.
    """
    if table.shape[:2] == shape:
        return table
    resized = F.interpolate(table.permute(2, 0, 1)[None], size=shape, mode='bilinear', align_corners=False)
    return resized[0].permute(1, 2, 0)


class RelativePositionBias(BaseModule):
    """The learned biases of one attention.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358). A
    table ``(row offsets, column offsets, heads)`` for grid tokens, and one value
    per head and global token for each of the other pairs.

    A table of another shape in a checkpoint is resampled. A flat one, as
    published, is taken for this table's own shape if it has as many rows, and
    for a square one otherwise.

    Args:
        table_shape (tuple[int, int], optional): Row and column offsets in the
            table: ``2 * size - 1`` for full attention on ``size`` tokens, ``4 *
            window_size - 1`` for the sliding window. None for no table.
        num_heads (int): Attention heads.
        num_global_tokens (int): Global tokens. Defaults to 0.
        init_cfg (dict, optional): As in mmengine. Defaults to None.
    """

    def __init__(
        self,
        table_shape: tuple[int, int] | None,
        num_heads: int,
        num_global_tokens: int = 0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
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

    def of_global_queries(self, num_local: int) -> Tensor:
        """Bias of the global queries.

        Args:
            num_local (int): Grid tokens.

        Returns:
            Tensor: ``(heads, G, G + num_local)``.
        """
        local = self.global_local[0][..., None].expand(-1, -1, num_local)
        return torch.cat([self.global_global, local], dim=-1)

    def of_all_queries(self, hw_shape: tuple[int, int]) -> Tensor:
        """Bias between all pairs of tokens, the table resampled to the grid's offsets.

        Args:
            hw_shape (tuple[int, int]): Grid height and width, in tokens.

        Returns:
            Tensor: ``(heads, G + h * w, G + h * w)``.
        """
        h, w = hw_shape
        table = resize_bias_table(self.table, (2 * h - 1, 2 * w - 1))
        row, column = (torch.arange(size, device=table.device) for size in hw_shape)
        row = row[:, None] - row + h - 1
        column = column[:, None] - column + w - 1
        # query row, query column, key row, key column, heads
        bias = table[row[:, None, :, None], column[None, :, None, :]]
        bias = bias.flatten(2, 3).flatten(0, 1).permute(2, 0, 1)
        if self.global_local is None:
            return bias
        to_global = self.global_local[1][:, None].expand(-1, h * w, -1)
        local_queries = torch.cat([to_global, bias], dim=-1)
        return torch.cat([self.of_global_queries(h * w), local_queries], dim=1)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        key = prefix + 'table'
        loaded = state_dict.get(key)
        if self.table is None:
            if state_dict.pop(key, None) is not None:
                print_log(f'{key}: left out, this attention has no bias between grid tokens', logger='current')
        elif loaded is not None:
            state_dict[key] = self._fit_table(key, loaded)
        skip_other_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _fit_table(self, key: str, loaded: Tensor) -> Tensor:
        """Bring a loaded table into the shape of the own one."""
        rows, columns, heads = self.table.shape
        if loaded.ndim == 2:
            side = math.isqrt(len(loaded))
            if len(loaded) == rows * columns:
                loaded = loaded.unflatten(0, (rows, columns))
            elif side**2 == len(loaded):
                loaded = loaded.unflatten(0, (side, side))
            else:
                raise ValueError(
                    f'{key} is flat and has {len(loaded)} rows, which are not those of a square table: its shape is '
                    f'unknown, and so it cannot be resized to {(rows, columns)}. Build the model for its grid.'
                )
        if loaded.ndim != 3 or loaded.shape[2] != heads or loaded.shape[:2] == (rows, columns):
            return loaded
        print_log(f'{key}: resized from {tuple(loaded.shape[:2])} to {(rows, columns)} offsets', logger='current')
        return resize_bias_table(loaded, (rows, columns))
