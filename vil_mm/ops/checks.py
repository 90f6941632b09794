"""Checks of the op's arguments, the same for every backend."""

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
    if mask not in MASKS:
        raise ValueError(f'mask={mask!r} is not one of {MASKS}')
    # True == 1, but does not name a neighbor
    if isinstance(neighbors, bool) or neighbors not in allowed_neighbors:
        raise ValueError(f'neighbors={neighbors!r} is not one of {allowed_neighbors}')
    if mask == 'exact' and neighbors != 'all':
        raise ValueError(
            f"mask='exact' is defined only on the whole neighborhood: neighbors={neighbors!r} must be 'all', "
            "or mask one of 'block', 'cyclic', 'torus'"
        )


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
        ValueError: If a size is out of range, or the shape, dtype or device
            of a tensor does not match the others.
    """
    if len(hw_shape) != 2 or min(hw_shape) < 1:
        raise ValueError(f'hw_shape={tuple(hw_shape)} must be a height and a width, each at least 1')
    if not 1 <= window_size <= MAX_WINDOW_SIZE:
        raise ValueError(f'window_size={window_size} must be at least 1 and at most {MAX_WINDOW_SIZE}')
    if num_global_tokens < 0:
        raise ValueError(f'num_global_tokens={num_global_tokens} must be at least 0')
    if q.ndim != 4:
        raise ValueError(f'q has shape {tuple(q.shape)}, must have 4 dimensions: (N, heads, h * w, d)')
    if q.dtype not in DTYPES:
        raise ValueError(f'q has dtype {q.dtype}, must be one of {DTYPES}')
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
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f'{name} has shape {tuple(tensor.shape)}, must be {shape} with hw_shape={tuple(hw_shape)}, '
                f'window_size={window_size}, num_global_tokens={num_global_tokens} and q {tuple(q.shape)}'
            )
        if tensor.device != q.device:
            raise ValueError(f'{name} is on {tensor.device}, must be on the device of q, {q.device}')
        if not tensor.is_floating_point():
            raise ValueError(f'{name} has dtype {tensor.dtype}, must be a floating-point dtype')
    for name, tensor in (('k', k), ('v', v)):
        if tensor.dtype != q.dtype:
            raise ValueError(f'{name} has dtype {tensor.dtype}, must be that of q, {q.dtype}')
