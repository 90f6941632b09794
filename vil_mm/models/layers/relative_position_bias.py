"""Relative position bias of grid tokens and of global tokens."""

import math

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn


def resize_bias_table(table: Tensor, old_shape: tuple[int, int], new_shape: tuple[int, int]) -> Tensor:
    """Resample a bias table, bilinearly (half-pixel centres, no antialiasing).

    Args:
        table (Tensor): ``(rows * columns, heads)``.
        old_shape (tuple[int, int]): Rows and columns of ``table``.
        new_shape (tuple[int, int]): Rows and columns of the result.

    Returns:
        Tensor: ``(new rows * new columns, heads)``.
    """
    if old_shape == new_shape:
        return table
    grid = table.T.unflatten(1, old_shape)[None]
    return F.interpolate(grid, size=new_shape, mode='bilinear', align_corners=False)[0].flatten(1).T


class RelativePositionBias(BaseModule):
    """The learned biases of one attention.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358), section 3.1. A
    table for the offsets between grid tokens, and one value per head and
    global token for each of the other pairs.

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
        self.table_shape = table_shape
        self.table = self.global_local = self.global_global = None
        if table_shape is not None:
            self.table = nn.Parameter(torch.zeros(math.prod(table_shape), num_heads))
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
        table = resize_bias_table(self.table, self.table_shape, (2 * h - 1, 2 * w - 1))
        row, column = (torch.arange(size, device=table.device) for size in hw_shape)
        row = (row[:, None] - row + h - 1) * (2 * w - 1)
        column = column[:, None] - column + w - 1
        index = row[:, None, :, None] + column[None, :, None, :]
        bias = table[index.flatten(2).flatten(0, 1)].permute(2, 0, 1)
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
        elif loaded is not None and len(loaded) != len(self.table):
            side = math.isqrt(len(loaded))
            if side**2 != len(loaded):
                raise ValueError(
                    f'{key} has {len(loaded)} rows, which are not those of a square table: its shape is '
                    f'unknown, and so it cannot be resized to {self.table_shape}. Build the model for its grid.'
                )
            state_dict[key] = resize_bias_table(loaded, (side, side), self.table_shape)
            print_log(f'{key}: resized from {(side, side)} to {self.table_shape} offsets', logger='current')
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
