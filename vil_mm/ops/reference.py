"""Sliding-window attention in plain PyTorch: the readable oracle, for exported programs and transforms too."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Chunk offsets (row, column) in the 3x3 neighborhood. ``neighbors=k`` stands
# for the own chunk and the k-th neighbor in this order.
OWN_CHUNK = (0, 0)
NEIGHBOR_CHUNKS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def chunk_offsets(neighbors: str | int) -> tuple[tuple[int, int], ...]:
    """List the (row, column) offsets of the chunks that a query chunk attends to."""
    if neighbors == 'all':
        return (OWN_CHUNK, *NEIGHBOR_CHUNKS)
    if neighbors == 'self':
        return (OWN_CHUNK,)
    return (OWN_CHUNK, NEIGHBOR_CHUNKS[int(neighbors) - 1])


def count_chunks(length: int, window_size: int) -> int:
    """Count the chunks along one axis, in a form that PyTorch simplifies in graphs for maps of any size."""
    return (length + window_size - 1) // window_size


def to_chunks(x: Tensor, hw_shape: tuple[int, int], window_size: int) -> Tensor:
    """Cut a token grid into chunks, zero-padded at the bottom and the right.

    Args:
        x (Tensor): ``(N, heads, h * w, d)``.
        hw_shape (tuple[int, int]): Grid height and width, in tokens.
        window_size (int): Chunk height and width, in tokens.

    Returns:
        Tensor: ``(N, heads, chunk rows, chunk columns, window_size**2, d)``.
    """
    h, w = hw_shape
    size = window_size
    right, below = (count_chunks(length, size) * size - length for length in (w, h))
    x = F.pad(x.unflatten(2, hw_shape), (0, 0, 0, right, 0, below))
    x = x.unflatten(3, (-1, size)).unflatten(2, (-1, size))
    return x.transpose(3, 4).flatten(4, 5)


def from_chunks(x: Tensor, hw_shape: tuple[int, int], window_size: int) -> Tensor:
    """Undo :func:`to_chunks` and crop the padding."""
    h, w = hw_shape
    x = x.unflatten(4, (window_size, window_size)).transpose(3, 4)
    # a slice up to h would not tell graphs for maps of any size that there are as many
    return x.flatten(4, 5).flatten(2, 3).narrow(2, 0, h).narrow(3, 0, w).flatten(2, 3)


def key_coordinates(length: int, offsets: Tensor, window_size: int) -> tuple[Tensor, Tensor]:
    """Compute positions along one axis, before any wrapping around.

    Args:
        length (int): Grid size along the axis, in tokens.
        offsets (Tensor): Chunk offset of each attended chunk along the axis.
        window_size (int): Chunk size, in tokens.

    Returns:
        tuple[Tensor, Tensor]: Positions of the queries, ``(chunks,
        window_size)``, and of the keys, ``(chunks, offsets, window_size)``.
    """
    inner = torch.arange(window_size, device=offsets.device)
    chunks = torch.arange(count_chunks(length, window_size), device=offsets.device)
    queries = chunks[:, None] * window_size + inner
    keys = queries[:, None] + offsets[:, None] * window_size
    return queries, keys


def within_window(distance: Tensor, window_size: int) -> Tensor:
    """Tell which of the keys this many tokens away along one axis ``mask='exact'`` shows."""
    return distance.abs() <= window_size


def axis_mask(length: int, offsets: Tensor, window_size: int, mask: str) -> Tensor:
    """Tell which keys a query sees along one axis; it sees those that it sees along both.

    Args:
        length (int): Grid size along the axis, in tokens.
        offsets (Tensor): Chunk offset of each attended chunk along the axis.
        window_size (int): Chunk size, in tokens.
        mask (str): See :func:`vil_mm.ops.sliding_window_attention`.

    Returns:
        Tensor: bool, ``(chunks, query in chunk, offsets, key in chunk)``.
    """
    queries, keys = key_coordinates(length, offsets, window_size)
    padded = count_chunks(length, window_size) * window_size
    if mask == 'cyclic':
        # Only padding reached without wrapping around is hidden; the padding
        # of a wrapped chunk counts as zero keys, as published.
        seen = (keys < length) | (keys >= padded)
    elif mask == 'torus':
        seen = keys % padded < length
    else:
        seen = (keys >= 0) & (keys < length)
    seen = seen[:, None].expand(-1, window_size, -1, -1)
    if mask == 'exact':
        distance = queries[:, :, None, None] - keys[:, None]
        seen = seen & within_window(distance, window_size)
    return seen


def padded_queries(hw_shape: tuple[int, int], window_size: int, device: torch.device) -> Tensor:
    """Tell which places of the chunks are beyond the grid.

    Returns:
        Tensor: bool, ``(chunk rows, chunk columns, window_size**2, 1)``.
    """
    rows, columns = (
        torch.arange(count_chunks(length, window_size) * window_size, device=device) >= length for length in hw_shape
    )
    rows, columns = rows.unflatten(0, (-1, window_size)), columns.unflatten(0, (-1, window_size))
    return (rows[:, None, :, None] | columns[None, :, None, :]).flatten(2)[..., None]


def seen_keys(rows: Tensor, columns: Tensor) -> Tensor:
    """Combine masks of both axes, as :func:`axis_mask` makes them.

    Returns:
        Tensor: bool, ``(chunk rows, chunk columns, window_size**2, offsets *
        window_size**2)``.
    """
    seen = rows[:, None, :, None, :, :, None] & columns[None, :, None, :, :, None, :]
    return seen.flatten(4).flatten(2, 3)


def relative_index(offsets: tuple[tuple[int, int], ...], window_size: int, device: torch.device) -> Tensor:
    """Index the bias table for each pair of a query and a key of a neighborhood.

    What counts is the query's position minus the key's, before any wrapping
    around.

    Returns:
        Tensor: Rows of the table, ``(window_size**2, offsets * window_size**2)``.
    """
    size = window_size
    inner = torch.arange(size, device=device)
    rows, columns = torch.tensor(offsets, device=device).T * size
    row = inner[:, None, None] - (rows[:, None] + inner) + 2 * size - 1
    column = inner[:, None, None] - (columns[:, None] + inner) + 2 * size - 1
    # query row, query column, offset, key row, key column
    index = row[:, None, :, :, None] * (4 * size - 1) + column[None, :, :, None, :]
    return index.flatten(2).flatten(0, 1)


def count_flops(q_shape: torch.Size, window_size: int, num_global_tokens: int, neighbors: str | int) -> int:
    """Count the products of queries with keys and of weights with values; a multiply-add counts as 2.

    Every query counts with its whole neighborhood, padding included; padded queries do not count. A neighborhood of one
    window counts no more keys than the grid has.
    """
    batch, heads, tokens, width = q_shape
    num_chunks = len(chunk_offsets(neighbors))
    num_local = min(window_size**2, tokens) if num_chunks == 1 else num_chunks * window_size**2
    return 4 * batch * heads * tokens * width * (num_global_tokens + num_local)


def sliding_window_attention_reference(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    hw_shape: tuple[int, int],
    window_size: int,
    num_global_tokens: int,
    bias_table: Tensor | None,
    global_bias: Tensor | None,
    mask: str,
    neighbors: str | int,
    scale: float,
) -> Tensor:
    """Compute :func:`vil_mm.ops.sliding_window_attention` from arguments that have been checked."""
    size, num_global = window_size, num_global_tokens
    offsets = chunk_offsets(neighbors)
    rows, columns = torch.tensor(offsets, device=q.device).T

    def attended(x: Tensor) -> Tensor:
        """Gather global tokens and then the attended chunks: ``(..., G + offsets * size**2, d)``."""
        chunks = to_chunks(x[:, :, num_global:], hw_shape, size)
        chunk_rows, chunk_columns = chunks.shape[2:4]
        if mask in ('cyclic', 'torus'):
            tokens = [chunks.roll((-row, -column), (2, 3)) for row, column in offsets]
        else:
            # zeros, since a weight of zero does not hide NaN
            ring = F.pad(chunks, (0, 0, 0, 0, 1, 1, 1, 1))
            tokens = [
                ring.narrow(2, 1 + row, chunk_rows).narrow(3, 1 + column, chunk_columns) for row, column in offsets
            ]
        if num_global:
            shared = x[:, :, None, None, :num_global]
            tokens.insert(0, shared.expand(-1, -1, chunk_rows, chunk_columns, -1, -1))
        return torch.cat(tokens, dim=4)

    scores = scale * to_chunks(q, hw_shape, size) @ attended(k).transpose(-2, -1)
    global_scores, local_scores = scores.split([num_global, scores.shape[-1] - num_global], dim=-1)
    if global_bias is not None:
        global_scores = global_scores + global_bias[:, None, None, None]
    bias = scores.new_zeros(())
    if bias_table is not None:
        bias = bias_table[relative_index(offsets, size, q.device)].permute(2, 0, 1)[:, None, None]
    seen = seen_keys(axis_mask(hw_shape[0], rows, size, mask), axis_mask(hw_shape[1], columns, size, mask))
    local_scores = local_scores + torch.where(seen, bias, float('-inf'))
    scores = torch.cat([global_scores, local_scores], dim=-1)
    # so that queries of the padding give no gradients of NaN
    scores = scores.masked_fill(padded_queries(hw_shape, size, q.device), 0)
    attention = scores.softmax(dim=-1)
    return from_chunks(attention.to(v.dtype) @ attended(v), hw_shape, size)
