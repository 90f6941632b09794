"""Bilinear sampling of token grids."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import Size, check_arguments, dims
from .graphs import needs_plain_ops


@check_arguments
def sample_bilinear(
    values: Annotated[Tensor, dims('N', 'h * w', 'heads', 'C')],
    hw_shape: tuple[Size, Size],
    rows: Annotated[Tensor, dims('N * windows', 'heads', 'i')],
    columns: Annotated[Tensor, dims('N * windows', 'heads', 'j')],
) -> Tensor:
    """Sample windows of a grid bilinearly, where their rows and columns cross, with zeros beyond the grid.

    The result is that of ``grid_sample`` on maps ``(N * heads, C, h, w)``, but
    tokens are read where they lie, and coordinates have their own precision.

    Args:
        values (Tensor): ``(N, h * w, heads, C)``.
        hw_shape (tuple[int, int]): ``h`` and ``w``.
        rows (Tensor): ``(N * windows, heads, i)``, in tokens: 0 to ``h - 1`` on
            the grid.
        columns (Tensor): ``(N * windows, heads, j)``, in tokens: 0 to ``w - 1``
            on the grid.

    Returns:
        Tensor: ``(N * windows, heads, i, j, C)``.

    Raises:
        ValueError: If the grids do not have ``h * w`` tokens or equally many
            windows, or heads differ.
    """
    batch, length, heads, channels = values.shape
    if length != hw_shape[0] * hw_shape[1]:
        raise ValueError(
            f'values has shape {tuple(values.shape)}, must be (N, h * w, heads, C) with hw_shape={tuple(hw_shape)}'
        )
    num_windows = max(1, rows.shape[0] // max(1, batch))
    for name, points in (('rows', rows), ('columns', columns)):
        if points.shape[:2] != (batch * num_windows, heads):
            raise ValueError(
                f'{name} has shape {tuple(points.shape)}, must be (N * windows, heads={heads}, ...), as many windows '
                f'for each of N={batch} grids, in rows and in columns'
            )
    row, row_weight = _neighbors(rows, hw_shape[0])
    column, column_weight = _neighbors(columns, hw_shape[1])
    image = torch.arange(rows.shape[0], device=values.device) // num_windows
    first = image[:, None] * (length * heads) + torch.arange(heads, device=values.device)
    row = row * (hw_shape[1] * heads) + first[..., None, None]
    index = row[..., :, None, :, None] + (column * heads)[..., None, :, None, :]
    weight = row_weight[..., :, None, :, None] * column_weight[..., None, :, None, :]
    index, weight = index.flatten(-2), weight.flatten(-2).to(values.dtype)
    tokens = values.reshape(-1, channels)
    if needs_plain_ops():  # other runtimes loop over the points of embedding_bag, transforms lack it
        return (tokens[index] * weight[..., None]).sum(-2)
    # A point is a weighted sum of four tokens, which is what embedding_bag computes.
    sampled = F.embedding_bag(index.view(-1, 4), tokens, per_sample_weights=weight.view(-1, 4), mode='sum')
    return sampled.view(*index.shape[:-1], channels)


def _neighbors(points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Find the two places around each point and their weights, zero beyond the grid; each ``(..., 2)``."""
    points = points.clamp(-1, size)
    below = points.detach().floor()
    above_weight = points - below
    places = torch.stack([below, below + 1], dim=-1)
    weights = torch.stack([1 - above_weight, above_weight], dim=-1)
    weights = weights.masked_fill((places < 0) | (places >= size), 0)
    return places.long().clamp(0, size - 1), weights
