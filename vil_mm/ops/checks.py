"""Checks of the op's arguments, the same for every backend."""

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from .reference import NEIGHBOR_CHUNKS

MASKS = ('block', 'exact', 'cyclic', 'torus')
NEIGHBORS = ('all', 'self', *range(1, len(NEIGHBOR_CHUNKS) + 1))
MAX_WINDOW_SIZE = 4096  # compiled code indexes the bias table with 32-bit integers; a test compares its limit
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_mask_and_neighbors(mask: str, neighbors: str | int, allowed_neighbors: tuple = NEIGHBORS) -> None:
    """Check the two settings that decide which keys a query sees.

    Raises:
        ValueError: If one is unknown, or ``mask='exact'`` comes with less
            than the whole neighborhood, for which it is not defined.
    """
    if not isinstance(mask, str) or mask not in MASKS:
        raise ValueError(f'mask={mask!r} is not one of {MASKS}')
    # True == 1, but does not name a neighbor
    if not isinstance(neighbors, (str, int)) or isinstance(neighbors, bool) or neighbors not in allowed_neighbors:
        raise ValueError(f'neighbors={neighbors!r} is not one of {allowed_neighbors}')
    if mask == 'exact' and neighbors != 'all':
        raise ValueError(
            f"mask='exact' is defined only on the whole neighborhood: neighbors={neighbors!r} must be 'all', "
            "or mask one of 'block', 'cyclic', 'torus'"
        )


def check_scale(scale: float | None) -> None:
    """Check the factor of the products.

    Raises:
        TypeError: If it is not a number. A tensor would get no gradient.
        ValueError: If it is not finite.
    """
    if scale is None:
        return
    # the first two are quick, and what a graph can trace
    if not isinstance(scale, (float, int, Real, torch.SymFloat, torch.SymInt)) or isinstance(scale, bool):
        raise TypeError(f'scale={scale!r} must be a number or None')
    if not -math.inf < scale < math.inf:
        raise ValueError(f'scale={scale!r} must be finite')


def is_integer(value: Any) -> bool:
    """Tell whether a value is an integer; in what TorchScript traces, sizes are tensors."""
    if isinstance(value, (int, torch.SymInt)):
        return value is not True and value is not False
    return isinstance(value, Integral) or torch.jit.is_tracing()


def check_sizes(hw_shape: tuple[int, int], window_size: int, num_global_tokens: int) -> None:
    """Check integers.

    Raises:
        TypeError: If one is not an integer.
        ValueError: If one is out of its range.
    """
    if not isinstance(hw_shape, (tuple, list)) or not all(map(is_integer, hw_shape)):
        raise TypeError(f'hw_shape={hw_shape!r} must be a height and a width, both integers')
    if len(hw_shape) != 2 or min(hw_shape) < 1:
        raise ValueError(f'hw_shape={tuple(hw_shape)} must be a height and a width, each at least 1')
    for name, value in (('window_size', window_size), ('num_global_tokens', num_global_tokens)):
        if not is_integer(value):
            raise TypeError(f'{name}={value!r} must be an integer')
    if not 1 <= window_size <= MAX_WINDOW_SIZE:
        raise ValueError(f'window_size={window_size} must be at least 1 and at most {MAX_WINDOW_SIZE}')
    if num_global_tokens < 0:
        raise ValueError(f'num_global_tokens={num_global_tokens} must be at least 0')


def check_dense(name: str, tensor: Tensor) -> None:
    """Check that an argument is a tensor of a plain kind.

    Raises:
        TypeError: If it is not a tensor.
        ValueError: If it is not dense, or has a dtype that is not supported.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f'{name} is {type(tensor).__name__}, must be a Tensor')
    if tensor.layout is not torch.strided or tensor.is_nested:
        raise ValueError(f'{name} is sparse or nested ({tensor.layout}), must be dense')
    if tensor.dtype not in DTYPES:
        raise ValueError(f'{name} has dtype {tensor.dtype}, must be one of {DTYPES}')


def check_tensors(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    hw_shape: tuple[int, int],
    window_size: int,
    num_global_tokens: int,
    bias_table: Tensor | None,
    global_bias: Tensor | None,
) -> None:
    """Check tensors and sizes against one another.

    Raises:
        TypeError: If one is not a tensor or an integer.
        ValueError: If a size is out of range, a tensor is not dense, or its
            shape, dtype or device does not match the others.
    """
    check_sizes(hw_shape, window_size, num_global_tokens)
    check_dense('q', q)
    if q.ndim != 4:
        raise ValueError(f'q has shape {tuple(q.shape)}, must have 4 dimensions: (N, heads, h * w, d)')
    batch, heads, _, width = q.shape
    if width < 1:
        raise ValueError(f'q has shape {tuple(q.shape)}, its head width must be at least 1')
    grid = hw_shape[0] * hw_shape[1]
    expected = {
        'q': (q, (batch, heads, grid, width)),
        'k': (k, (batch, heads, num_global_tokens + grid, width)),
        'v': (v, (batch, heads, num_global_tokens + grid, width)),
        'bias_table': (bias_table, ((4 * window_size - 1) ** 2, heads)),
        'global_bias': (global_bias, (heads, num_global_tokens)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is None and name not in 'qkv':
            continue
        check_dense(name, tensor)
        if tensor.shape != shape:
            raise ValueError(
                f'{name} has shape {tuple(tensor.shape)}, must be {shape} with hw_shape={tuple(hw_shape)}, '
                f'window_size={window_size}, num_global_tokens={num_global_tokens} and q {tuple(q.shape)}'
            )
        if tensor.device != q.device:
            raise ValueError(f'{name} is on {tensor.device}, must be on the device of q, {q.device}')
    for name, tensor in (('k', k), ('v', v)):
        if tensor.dtype != q.dtype:
            raise ValueError(f'{name} has dtype {tensor.dtype}, must be that of q, {q.dtype}')
