"""The public sliding-window attention."""

import torch
from torch import Tensor

from .checks import check_mask_and_neighbors, check_scale, check_tensors
from .choice import choose_backend, constant_in_graphs


@constant_in_graphs
def _has_autocast(device_type: str) -> bool:
    return torch.amp.is_autocast_available(device_type)


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
    it leaves out the queries of the global tokens.

    NaN and infinity reach the same places in all backends. The output of a
    query is NaN in all channels if it has a NaN or infinite number itself, if
    one of its scores is NaN or plus infinity, or if all of its scores are minus
    infinity, as biases can make them. A key with NaN makes that of all queries
    of the chunks that attend to its own, even of those from which
    ``mask='exact'`` hides it. A value with NaN makes NaN of its own channel of
    their outputs, whatever the weight. In the backward pass, such a query gives
    NaN to the gradients of all that it attends to.

    Args:
        q (Tensor): Queries of the grid, ``(N, heads, h * w, d)``, row-major,
            float64, float32, bfloat16 or float16. Like ``k`` and ``v``,
            compiled code reads it in place if its last stride is 1, whatever
            the others, and copies it otherwise. Autocast applies to all three,
            unless they are float64.
        k (Tensor): Keys, ``(N, heads, G + h * w, d)``, global tokens first.
        v (Tensor): Values, of the shape of ``k``.
        hw_shape (tuple[int, int]): Grid height and width, in tokens.
        window_size (int): Chunk height and width, in tokens.
        num_global_tokens (int): ``G``. Defaults to 0.
        bias_table (Tensor, optional): Relative position bias of the local keys,
            ``((4 * window_size - 1)**2, heads)``. For a query at row ``qi`` and
            column ``qj`` and a key at ``ki`` and ``kj``, it is in row ``(qi -
            ki + 2 * window_size - 1) * (4 * window_size - 1) + (qj - kj + 2 *
            window_size - 1)``. Defaults to None.
        global_bias (Tensor, optional): Bias of the global keys,
            ``(heads, G)``. Defaults to None.
        mask (str): Which keys of the neighborhood count. ``'block'``: all
            that lie on the grid. ``'exact'``: those at most ``window_size``
            rows and columns away. ``'cyclic'``: chunks wrap around the grid,
            and the zero padding of a wrapped chunk takes part as zero-valued
            keys, as published. ``'torus'``: chunks wrap around the grid, and
            padding never counts. This differs from ``'cyclic'`` only if a side
            of the grid is not a multiple of ``window_size``; then
            ``backend='cpu'`` and ``backend='cuda'`` do not support it.
            Defaults to ``'block'``.
        neighbors (str | int): Which chunks of the neighborhood count:
            ``'all'``, ``'self'`` (the query's own chunk), or 1 to 8 (its own
            chunk and that neighbor; neighbors are numbered in row-major order).
            ``mask='exact'`` needs ``'all'``. Defaults to ``'all'``.
        scale (float, optional): Factor of the products of queries and keys.
            Defaults to ``d**-0.5``.
        backend (str, optional): ``'triton'`` for Triton kernels, ``'cpu'`` or
            ``'cuda'`` for compiled code, or plain PyTorch, on any device and with second derivatives:
            ``'pytorch'``, which takes little memory, or ``'reference'``, which
            is easy to read. Defaults to None: what the environment variable
            ``VIL_MM_BACKEND`` names, or else the fastest that can run. On a
            GPU, compiled code is only chosen if it has passed its check there,
            see :mod:`vil_mm.ops.self_check`.

    Returns:
        Tensor: ``(N, heads, h * w, d)``, with the dtype of ``q``.

    Raises:
        TypeError: If an argument is not what it should be, such as a tensor as
            ``scale``, to which no gradient would flow.
        ValueError: If an argument is out of range, the arguments do not
            match one another, or the named backend cannot run on them.
    """
    check_mask_and_neighbors(mask, neighbors)
    check_scale(scale)
    check_tensors(q, k, v, hw_shape, window_size, num_global_tokens, bias_table, global_bias)
    if _has_autocast(q.device.type) and torch.is_autocast_enabled(q.device.type) and q.dtype != torch.float64:
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    if scale is None:
        scale = q.shape[-1] ** -0.5
    if mask == 'torus' and not any(size % window_size for size in hw_shape):
        mask = 'cyclic'  # the same where nothing is padded
    return choose_backend(backend, q, mask).run(
        q, k, v, tuple(hw_shape), window_size, num_global_tokens, bias_table, global_bias, mask, neighbors, scale
    )
