"""The biases as the kernels read them, and the bias table's gradient from what they write."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..places import Places
from ..reference import chunk_offsets


def expand_biases(
    bias_table: Tensor | None, global_bias: Tensor | None, places: Places, heads: int, unit: float
) -> Tensor:
    """Write biases and the mask for each place of a key and of a query, in the scores' unit.

    Those of all queries lie side by side, whichever keys a kernel lists.

    Returns:
        Tensor: float32, ``(heads, places for keys, places for queries)``.
    """
    num_places, size = places.hidden.shape
    shapes = (heads, num_places - len(places.rows), size), (heads, len(places.rows), size)
    zeros = torch.zeros(1, 1, 1, dtype=torch.float32, device=places.rows.device)
    of_globals = (zeros if global_bias is None else global_bias[:, :, None]).expand(shapes[0])
    local = zeros.expand(shapes[1]) if bias_table is None else bias_table.T[:, places.rows]
    return torch.cat([of_globals, local], 1).float().mul_(unit).masked_fill_(places.hidden, float('-inf'))


def mirror_biases(biases: Tensor, places: Places, window_size: int) -> Tensor:
    """Rearrange expanded biases for each place of a query that sees a chunk and of a key in that chunk.

    Returns:
        Tensor: float32, ``(heads, places for queries, places for keys)``.
    """
    chunk = window_size**2
    local = biases[:, -len(places.rows) : -1, :chunk].unflatten(1, (-1, chunk)).mT.flatten(1, 2)
    return F.pad(local, (0, biases.shape[2] - chunk, 0, 1), value=float('-inf'))


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
    by_distance = _sum_by_distance(_sum_by_distance(pairs, 1, 4), 1, 3)  # head, offset, row, column
    absent = torch.zeros_like(by_distance[:, 0])
    # a neighbor above has keys further up, whose distances are larger
    around = [(row, column) for row in (1, 0, -1) for column in (1, 0, -1)]
    blocks = torch.stack([by_distance[:, offsets.index(x)] if x in offsets else absent for x in around], -1)
    grad = F.fold(blocks.flatten(1, 2), [4 * size - 1] * 2, 2 * size - 1, stride=size)
    return grad.flatten(1).T
