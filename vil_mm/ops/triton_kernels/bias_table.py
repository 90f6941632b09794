"""The biases as the kernels read them, and the bias table's gradient from what they write."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..places import Places


def list_biases(
    bias_table: Tensor | None, global_bias: Tensor | None, places: Places, heads: int, unit: float
) -> Tensor:
    """List all biases as :class:`vil_mm.ops.places.Places` numbers them, in the scores' unit.

    Returns:
        Tensor: float32, ``(heads, rows of the table + global tokens + 1)``.
    """
    num_rows, num_global = len(places.pairs), len(places.biases) - len(places.mirrored)
    zeros = places.biases.new_zeros(1, 1, dtype=torch.float32)
    table = zeros.expand(heads, num_rows) if bias_table is None else bias_table.T
    of_globals = zeros.expand(heads, num_global) if global_bias is None else global_bias
    return F.pad(torch.cat([table, of_globals], 1).float() * unit, (0, 1), value=float('-inf'))


def expand_biases(biases: Tensor, numbers: Tensor) -> Tensor:
    """Write the biases of all pairs of places ``(heads, *numbers.shape)``.

    Those for a tile's rows lie side by side, whichever places a kernel lists as its columns.
    """
    return biases.index_select(1, numbers.flatten()).unflatten(1, numbers.shape)


def reduce_table(parts: Tensor, pairs: Tensor) -> Tensor:
    """Sum the gradients of pairs of places to those of the bias table.

    Args:
        parts (Tensor): ``(heads, parts, places of a chunk, places of its
            neighborhood)``, filled up to whole tiles.
        pairs (Tensor): See :class:`vil_mm.ops.places.Places`.

    Returns:
        Tensor: ``(rows, heads)``.
    """
    sums = F.pad(parts.sum(1).flatten(1), (0, 1))
    return expand_biases(sums, pairs).sum(2).T
