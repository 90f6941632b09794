"""Padding of a grid to whole windows."""

import torch.nn.functional as F
from torch import Tensor


def pad_to_windows(x: Tensor, window_size: int, padding: str = 'end') -> tuple[Tensor, tuple[int, int]]:
    """Zero-pad a grid so that windows fill it.

    Args:
        x (Tensor): ``(N, h, w, C)``.
        window_size (int): Height and width of a window, in tokens.
        padding (str): ``'end'``: below and on the right; ``'both'``: evenly, an
            odd rest at the end. Defaults to ``'end'``.

    Returns:
        tuple[Tensor, tuple[int, int]]: The padded grid, and the rows above and
        the columns left of the old one.
    """
    rows, columns = (-size % window_size for size in x.shape[1:3])
    top, left = (rows // 2, columns // 2) if padding == 'both' else (0, 0)
    if rows or columns:
        x = F.pad(x, (0, 0, left, columns - left, top, rows - top))
    return x, (top, left)
