"""Cutting a grid of tokens into windows, and joining them again."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import Size, check_arguments, dims, one_of
from .graphs import is_compiled, is_padding, register_op

Padding = Annotated[str, one_of('end', 'both')]


@check_arguments
def fit_windows(size: Size, window_size: Size, padding: Padding = 'end') -> tuple[int, int]:
    """Find how many windows cover a side of a grid, and where they begin.

    Args:
        size (int): Length of the side, in tokens.
        window_size (int): Length of a window, in tokens.
        padding (str): Where the side is padded if windows do not fill it:
            ``'end'``, or ``'both'``: evenly, with an odd rest at the end.
            Defaults to ``'end'``.

    Returns:
        tuple[int, int]: The number of windows, and how many tokens of padding
        come before the grid's own.
    """
    count = (size + window_size - 1) // window_size
    return count, (count * window_size - size) // 2 if padding == 'both' else 0


@check_arguments
def cut_windows(x: Annotated[Tensor, dims('N', 'h', 'w', 'C')], window_size: Size, padding: Padding = 'end') -> Tensor:
    """Cut a grid into windows, padded with zeros where they do not fill it.

    Args:
        x (Tensor): ``(N, h, w, C)``.
        window_size (int): Height and width of a window, in tokens.
        padding (str): ``'end'``: below and on the right; ``'both'``: evenly,
            with an odd rest at the end. Defaults to ``'end'``.

    Returns:
        Tensor: Windows in rows, ``(N * y * x, window_size ** 2, C)``, contiguous.
    """
    run = torch.ops.vil_mm.cut_windows if is_compiled() else _cut
    return run(x, window_size, padding)


@check_arguments
def join_windows(
    windows: Annotated[Tensor, dims('N * y * x', 'window_size**2', 'C')],
    hw_shape: tuple[Size, Size],
    padding: Padding = 'end',
) -> Tensor:
    """Join windows into a grid, without its padding; undoes :func:`cut_windows`.

    Args:
        windows (Tensor): ``(N * y * x, window_size ** 2, C)``.
        hw_shape (tuple[int, int]): Height and width of the grid.
        padding (str): As for :func:`cut_windows`. Defaults to ``'end'``.

    Returns:
        Tensor: ``(N, h, w, C)``, contiguous.

    Raises:
        ValueError: If these are not the windows of such a grid.
    """
    window_size = max(1, _window_size(windows))
    rows, columns = (fit_windows(size, window_size)[0] for size in hw_shape)
    if windows.shape[1] != window_size**2 or windows.shape[0] % (rows * columns):
        raise ValueError(
            f'windows has shape {tuple(windows.shape)}, must be (N * y * x, window_size**2, C), where y by x windows '
            f'cover hw_shape={tuple(hw_shape)}'
        )
    run = torch.ops.vil_mm.join_windows if is_compiled() else _join
    return run(windows, *hw_shape, padding)


def _window_size(windows: Tensor) -> int:
    return round(windows.shape[1] ** 0.5)


def _cut(x: Tensor, window_size: int, padding: str) -> Tensor:
    sides = []
    for size in x.shape[2:0:-1]:
        count, before = fit_windows(size, window_size, padding)
        sides += [before, count * window_size - size - before]
    x = F.pad(x, (0, 0, *sides)) if is_padding(*sides) else x
    windows = x.unflatten(2, (-1, window_size)).unflatten(1, (-1, window_size)).transpose(2, 3)
    return windows.clone(memory_format=torch.contiguous_format).flatten(3, 4).flatten(0, 2)


def _join(windows: Tensor, h: int, w: int, padding: str) -> Tensor:
    window_size = _window_size(windows)
    (rows, top), (columns, left) = (fit_windows(size, window_size, padding) for size in (h, w))
    grid = windows.unflatten(1, (window_size, window_size)).unflatten(0, (-1, rows, columns)).transpose(2, 3)
    grid = grid.clone(memory_format=torch.contiguous_format).flatten(3, 4).flatten(1, 2)
    if is_padding(rows * window_size - h, columns * window_size - w):
        grid = grid.narrow(1, top, h).narrow(2, left, w)  # graphs could not tell the size of a slice
        grid = grid.clone(memory_format=torch.contiguous_format)
    return grid


def _fake_cut(x: Tensor, window_size: int, padding: str) -> Tensor:
    rows, columns = (fit_windows(size, window_size)[0] for size in x.shape[1:3])
    return x.new_empty(x.shape[0] * rows * columns, window_size**2, x.shape[3])


def _fake_join(windows: Tensor, h: int, w: int, padding: str) -> Tensor:
    rows, columns = (fit_windows(size, _window_size(windows))[0] for size in (h, w))
    return windows.new_empty(windows.shape[0] // (rows * columns), h, w, windows.shape[2])


def _save_cut(ctx, inputs, output) -> None:
    x, ctx.window_size, ctx.padding = inputs
    ctx.hw_shape = x.shape[1:3]


def _save_join(ctx, inputs, output) -> None:
    windows, _, _, ctx.padding = inputs
    ctx.window_size = _window_size(windows)


# Without the ops, PyTorch would compile anew for every way in which windows fill grids: it asks whether there is
# padding, and whether a copy is needed.
register_op('vil_mm::cut_windows', _cut, _fake_cut)
register_op('vil_mm::join_windows', _join, _fake_join)
torch.library.register_autograd(
    'vil_mm::cut_windows',
    lambda ctx, grad: (torch.ops.vil_mm.join_windows(grad, *ctx.hw_shape, ctx.padding), None, None),
    setup_context=_save_cut,
)
torch.library.register_autograd(
    'vil_mm::join_windows',
    lambda ctx, grad: (torch.ops.vil_mm.cut_windows(grad, ctx.window_size, ctx.padding), None, None, None),
    setup_context=_save_join,
)
