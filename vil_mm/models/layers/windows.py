"""Cutting a grid into windows, and joining them again."""

from typing import Annotated

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...arguments import Count, Size, check_arguments, dims, one_of
from .maps import is_padding, missing_to_multiple

Grid = Annotated[Tensor, dims('N', 'h', 'w', 'C')]


@check_arguments
def pad_to_windows(
    x: Grid, window_size: Size, padding: Annotated[str, one_of('end', 'both')] = 'end'
) -> tuple[Tensor, tuple[int, int]]:
    """Zero-pad a grid until windows fill it.

    Args:
        x (Tensor): ``(N, h, w, C)``.
        window_size (int): Height and width of a window, in tokens.
        padding (str): ``'end'``: below and on the right; ``'both'``: evenly,
            with an odd rest at the end. Defaults to ``'end'``.

    Returns:
        tuple[Tensor, tuple[int, int]]: The padded grid, and how many rows and
        columns of padding come before the grid's own.
    """
    rows, columns = (missing_to_multiple(size, window_size) for size in x.shape[1:3])
    top, left = (rows // 2, columns // 2) if padding == 'both' else (0, 0)
    if is_padding(rows, columns):
        x = F.pad(x, (0, 0, left, columns - left, top, rows - top))
    return x, (top, left)


@check_arguments
def cut_windows(x: Grid, window_size: Size, num_heads: Size, parts: Size = 1) -> Tensor:
    """Cut a grid into windows, and channels into parts and heads.

    Args:
        x (Tensor): ``(N, y * window_size, x * window_size, parts * heads * d)``.
        window_size (int): Height and width of a window, in tokens.
        num_heads (int): Heads.
        parts (int): Parts, such as queries, keys and values. Defaults to 1.

    Returns:
        Tensor: ``(parts, N, y, x, heads, window_size ** 2, d)``.
    """
    return rearrange(
        x, 'n (y i) (x j) (p h d) -> p n y x h (i j) d', i=window_size, j=window_size, h=num_heads, p=parts
    )


@check_arguments
def join_windows(
    x: Annotated[Tensor, dims('N', 'y', 'x', 'heads', 'window_size**2', 'd')],
    before: tuple[Count, Count],
    hw_shape: tuple[Size, Size],
) -> Tensor:
    """Join windows into the tokens of a grid, without its padding.

    Args:
        x (Tensor): ``(N, y, x, heads, window_size ** 2, d)``.
        before (tuple[int, int]): Rows and columns of padding before the grid's
            own.
        hw_shape (tuple[int, int]): Height and width of the grid.

    Returns:
        Tensor: ``(N, h * w, heads * d)``.
    """
    (top, left), (h, w) = before, hw_shape
    size = round(x.shape[4] ** 0.5)
    x = rearrange(x, 'n y x h (i j) d -> n (y i) (x j) (h d)', i=size)
    return x.narrow(1, top, h).narrow(2, left, w).flatten(1, 2)  # graphs could not tell the size of a slice
