"""The public sliding-window attention and its choice of backend."""

from collections.abc import Callable

from torch import Tensor

from .reference import sliding_window_attention_reference

MASKS = ('block', 'exact', 'cyclic')
NEIGHBORS = ('all', 'self', *range(1, 9))

#: Backend name to implementation, the fastest first.
BACKENDS: dict[str, Callable[..., Tensor]] = {'reference': sliding_window_attention_reference}


def sliding_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    hw_shape: tuple[int, int],
    window_size: int,
    *,
    num_global_tokens: int = 0,
    bias_table: Tensor | None = None,
    global_bias: Tensor | None = None,
    mask: str = 'block',
    neighbors: str | int = 'all',
    scale: float | None = None,
    backend: str | None = None,
) -> Tensor:
    r"""Attend from each token of a grid to its window and to global tokens.

    The grid is cut into chunks of ``window_size x window_size`` tokens. Each
    query attends to the global tokens and to the tokens of the 3x3 chunks
    around its own, under one softmax. This is the local half of Vision
    Longformer's attention (Multi-Scale Vision Longformer, arXiv 2103.15358);
    the global tokens' own queries are not part of it.

    Args:
        q (Tensor): Queries of the grid, ``(N, heads, h * w, d)``, row-major.
        k (Tensor): Keys, ``(N, heads, G + h * w, d)``, global tokens first.
        v (Tensor): Values, of the shape of ``k``.
        hw_shape (tuple[int, int]): Grid height and width, in tokens.
        window_size (int): Chunk height and width, in tokens.
        num_global_tokens (int): ``G``. Defaults to 0.
        bias_table (Tensor, optional): Relative position bias of the local
            keys, ``((4 * window_size - 1)**2, heads)``, row
            ``(qi - ki + 2 * window_size - 1) * (4 * window_size - 1) + (qj -
            kj + 2 * window_size - 1)``. Defaults to None.
        global_bias (Tensor, optional): Bias of the global keys,
            ``(heads, G)``. Defaults to None.
        mask (str): Which keys of the neighbourhood count. ``'block'``: all
            that lie on the grid. ``'exact'``: those at most ``window_size``
            rows and columns away. ``'cyclic'``: chunks wrap round the grid;
            zero padding that a wrapped chunk brings along counts as keys of
            zeros, as published. Defaults to ``'block'``.
        neighbors (str | int): Which chunks of the neighbourhood count:
            ``'all'``, ``'self'`` (the own one), or 1 to 8 (the own one and
            that neighbour, row-major). Defaults to ``'all'``.
        scale (float, optional): Factor of the products of queries and keys.
            Defaults to ``d**-0.5``.
        backend (str, optional): A name of ``BACKENDS``. Defaults to None:
            the fastest that can run.

    Returns:
        Tensor: ``(N, heads, h * w, d)``, of the dtype of ``q``.

    Raises:
        ValueError: If an argument is out of its range, or the arguments do
            not fit one another.
    """
    _check(q, k, v, hw_shape, window_size, num_global_tokens, bias_table, global_bias, mask, neighbors)
    if backend is None:
        backend = next(iter(BACKENDS))
    elif backend not in BACKENDS:
        raise ValueError(f'backend={backend!r} is not one of {list(BACKENDS)}')
    if scale is None:
        scale = q.shape[-1] ** -0.5
    return BACKENDS[backend](
        q, k, v, tuple(hw_shape), window_size, num_global_tokens, bias_table, global_bias, mask, neighbors, scale
    )


def check_mask_and_neighbors(mask: str, neighbors: str | int, allowed_neighbors: tuple = NEIGHBORS) -> None:
    """Check the two settings that say which keys count.

    Raises:
        ValueError: If one is unknown, or ``mask='exact'`` is given less than
            the whole neighbourhood, for which it is not defined.
    """
    if mask not in MASKS:
        raise ValueError(f'mask={mask!r} is not one of {MASKS}')
    # True == 1, yet it is no neighbour
    if isinstance(neighbors, bool) or neighbors not in allowed_neighbors:
        raise ValueError(f'neighbors={neighbors!r} is not one of {allowed_neighbors}')
    if mask == 'exact' and neighbors != 'all':
        raise ValueError(
            f"mask='exact' is defined on the whole neighbourhood: neighbors={neighbors!r} must be 'all', "
            "or mask 'block' or 'cyclic'"
        )


def _check(q, k, v, hw_shape, window_size, num_global_tokens, bias_table, global_bias, mask, neighbors) -> None:
    """Check the arguments of :func:`sliding_window_attention` against one another."""
    check_mask_and_neighbors(mask, neighbors)
    h, w = hw_shape
    if h < 1 or w < 1:
        raise ValueError(f'hw_shape={tuple(hw_shape)} must be at least (1, 1)')
    if window_size < 1:
        raise ValueError(f'window_size={window_size} must be at least 1')
    if num_global_tokens < 0:
        raise ValueError(f'num_global_tokens={num_global_tokens} must be at least 0')
    if q.ndim != 4:
        raise ValueError(f'q has shape {tuple(q.shape)}, must have 4 dimensions: (N, heads, h * w, d)')
    batch, heads, _, width = q.shape
    expected = {
        'q': (q, (batch, heads, h * w, width)),
        'k': (k, (batch, heads, num_global_tokens + h * w, width)),
        'v': (v, (batch, heads, num_global_tokens + h * w, width)),
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
            raise ValueError(f'{name} has dtype {tensor.dtype}, must be a floating-point one')
    for name, tensor in (('k', k), ('v', v)):
        if tensor.dtype != q.dtype:
            raise ValueError(f'{name} has dtype {tensor.dtype}, must be that of q, {q.dtype}')
