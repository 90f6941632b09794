"""Turning tokens into feature maps and back."""

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..arguments import Size, check_arguments, dims
from .graphs import is_compiled, is_dynamic, needs_plain_ops, register_op

FeatureMap = Annotated[Tensor, dims('N', 'C', 'h', 'w')]
Tokens = Annotated[Tensor, dims('N', 'L', 'C')]


@check_arguments
def to_map(x: Tokens, hw_shape: tuple[Size, Size]) -> Tensor:
    """Turn tokens into a feature map.

    Args:
        x (Tensor): ``(N, h * w, C)``.
        hw_shape (tuple[int, int]): Height and width of the map.

    Returns:
        Tensor: ``(N, C, h, w)`` in ``channels_last``, a view; but a copy in
        graphs that serve several sizes, in exported programs and in transforms.

    Raises:
        ValueError: If these are not the tokens of such a map.
    """
    featmap = to_grid(x, hw_shape).movedim(3, 1)
    return featmap.contiguous() if needs_plain_ops() else featmap  # see layers.to_channels_last


@check_arguments
def to_grid(x: Tokens, hw_shape: tuple[Size, Size]) -> Tensor:
    """Turn tokens into a grid, ``(N, h * w, C)`` into ``(N, h, w, C)``; as for :func:`to_map`, often a view."""
    if x.shape[1] != hw_shape[0] * hw_shape[1]:
        raise ValueError(f'x has shape {tuple(x.shape)}, must be (N, h * w, C) with hw_shape={tuple(hw_shape)}')
    if is_compiled() and is_dynamic():
        return torch.ops.vil_mm.to_map(x, *hw_shape).movedim(1, 3)
    return x.unflatten(1, hw_shape)


@check_arguments
def to_tokens(x: FeatureMap, hw_shape: tuple[Size, Size] | None = None) -> Tensor:
    """Turn a feature map into tokens.

    Args:
        x (Tensor): ``(N, C, H, W)``.
        hw_shape (tuple[int, int], optional): Height and width ``(h, w)`` of
            the map without its padding below and on the right. Defaults to
            None: all of it becomes tokens.

    Returns:
        Tensor: ``(N, h * w, C)``. Without ``hw_shape``, a view.

    Raises:
        ValueError: If the map is smaller than ``hw_shape``.
    """
    if hw_shape is None:
        return x.flatten(2).mT
    if x.shape[2] < hw_shape[0] or x.shape[3] < hw_shape[1]:
        raise ValueError(f'x has shape {tuple(x.shape)}, must be (N, C, H, W), at least hw_shape={tuple(hw_shape)}')
    return torch.ops.vil_mm.crop_to_tokens(x, *hw_shape) if is_compiled() else _crop(x, *hw_shape).flatten(1, 2)


def _copy_to_map(x: Tensor, h: int, w: int) -> Tensor:
    return x.mT.unflatten(2, (h, w)).clone(memory_format=torch.channels_last)


def _crop(x: Tensor, h: int, w: int) -> Tensor:
    return x.narrow(2, 0, h).narrow(3, 0, w).movedim(1, 3)


def _crop_to_tokens(x: Tensor, h: int, w: int) -> Tensor:
    return _crop(x, h, w).clone(memory_format=torch.contiguous_format).flatten(1, 2)


def _fake_map(x: Tensor, h: int, w: int) -> Tensor:
    return x.new_empty(x.shape[0], h, w, x.shape[2]).permute(0, 3, 1, 2)


def _fake_tokens(x: Tensor, h: int, w: int) -> Tensor:
    return x.new_empty(x.shape[0], h * w, x.shape[1])


def _save_crop(ctx, inputs, output) -> None:
    x, *ctx.hw_shape = inputs
    ctx.padding = [size - own for size, own in zip(x.shape[2:], ctx.hw_shape)]


def _pad_gradient(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
    rows, columns = ctx.padding
    return F.pad(torch.ops.vil_mm.to_map(grad, *ctx.hw_shape), (0, columns, 0, rows)), None, None


# In graphs for several sizes, a view would have two faults. PyTorch takes its width for (h * w) // h, which it does not
# simplify if h and w are equal, so that formulas of later stages grow until Inductor fails. And Inductor fails to save
# it for the backward pass if it has to compare strides: which of 32 * w and 32 is larger, it cannot tell.
register_op('vil_mm::to_map', _copy_to_map, _fake_map)
torch.library.register_autograd('vil_mm::to_map', lambda ctx, grad: (to_tokens(grad), None, None))
# Without this one, PyTorch would compile anew for every way in which a map is padded: it asks whether a copy is needed.
register_op('vil_mm::crop_to_tokens', _crop_to_tokens, _fake_tokens)
torch.library.register_autograd('vil_mm::crop_to_tokens', _pad_gradient, setup_context=_save_crop)
