"""The bias table as the kernels read it, and its gradient from what they write."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..places import query_terms
from ..reference import chunk_offsets


def prepare_table(
    bias_table: Tensor | None, global_bias: Tensor | None, shown: Tensor, heads: int, window_size: int, unit: float
) -> Tensor:
    """Write the biases and the mask into one table ``(heads, rows)``, in the scores' unit."""
    table, rows = shown.expand(heads, -1), len(shown)
    if bias_table is not None:
        table = torch.add(table, F.pad(bias_table.T, (0, rows - len(bias_table))), alpha=unit)
    if global_bias is not None:
        repeated = global_bias.repeat_interleave(query_terms(window_size), 1)
        table = torch.add(table, F.pad(repeated, (rows - repeated.shape[1], 0)), alpha=unit)
    return table


def _sum_by_distance(x: Tensor, query: int, key: int) -> Tensor:
    """Sum over pairs of places on an axis; the result, at the end, is by place of the query minus place of the key."""
    x = x.movedim((query, key), (-2, -1)).flip(-1)
    size = x.shape[-1]
    # a row more to the right for each query: rows of twice the size are read as rows that are shorter by one
    skewed = F.pad(x, (0, size)).flatten(-2)[..., : size * (2 * size - 1)]
    return skewed.unflatten(-1, (size, -1)).sum(-2)


def reduce_table(parts: Tensor, window_size: int, neighbors: str | int) -> Tensor:
    """Sum the gradients of pairs of places to those of the bias table.

    Args:
        parts (Tensor): ``(heads, parts, places of a chunk, places of its
            neighborhood)``, filled up to whole tiles.
        window_size (int): Chunk size, in tokens.
        neighbors (str | int): Which chunks the neighborhood has.

    Returns:
        Tensor: ``(rows, heads)``.
    """
    size, offsets = window_size, chunk_offsets(neighbors)
    pairs = parts.sum(1)[:, : size**2, : len(offsets) * size**2]
    pairs = pairs.unflatten(2, (-1, size, size)).unflatten(1, (size, size))  # head, query, offset, key
    by_distance = _sum_by_distance(_sum_by_distance(pairs, 2, 5), 1, 3)  # head, offset, column, row
    side = 4 * size - 1
    grad = parts.new_zeros(len(parts), side, side)
    for i, (row, column) in enumerate(offsets):
        rows, columns = (slice((1 - x) * size, (3 - x) * size - 1) for x in (row, column))
        grad[:, rows, columns] += by_distance[:, i].mT
    return grad.flatten(1).T
