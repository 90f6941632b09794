"""Sliding-window attention in plain PyTorch that takes little memory: one strip of the map after another.

Gathered keys and values, masks and scores exist for one strip at a time. The
backward computes them again.
"""

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .graphs import needs_plain_ops, register_op
from .reference import (
    axis_mask,
    chunk_offsets,
    count_flops,
    from_chunks,
    padded_queries,
    relative_index,
    seen_keys,
    sliding_window_attention_reference,
    to_chunks,
)

FORWARD = 'vil_mm::sliding_window_attention_strips'
BACKWARD = 'vil_mm::sliding_window_attention_strips_backward'
#: What a strip's keys, values and scores may take, in bytes. On the CPU, they stay in its caches.
STRIP_BYTES, STRIP_BYTES_ON_CPU = 2**27, 2**23
#: How many images a strip has at most. They share its mask.
STRIP_IMAGES = 4


class _Strips:
    """Strips of a batch of maps: rectangles of chunks, the same in some images.

    Args:
        q (Tensor): The queries, of which shape, dtype and device count.
        h (int): Grid height. This and all that follow are arguments of the op.
        w (int): See above.
        window_size (int): See above.
        num_global_tokens (int): See above.
        mask (str): See above.
        neighbors (str): See above, a number as a string.
    """

    def __init__(self, q: Tensor, h: int, w: int, window_size: int, num_global_tokens: int, mask: str, neighbors: str):
        self.hw_shape, self.window_size, self.num_global = (h, w), window_size, num_global_tokens
        self.batch, self.heads, _, width = q.shape
        self.wraps = mask in ('cyclic', 'torus')
        self.offsets = chunk_offsets(neighbors)
        # Only the exact mask differs from query to query of a chunk
        queries = slice(None if mask == 'exact' else 1)
        rows, columns = torch.tensor(self.offsets, device=q.device).T
        self.seen_rows = axis_mask(h, rows, window_size, mask)[:, queries]
        self.seen_columns = axis_mask(w, columns, window_size, mask)[:, queries]
        self.padding = padded_queries(self.hw_shape, window_size, q.device)
        # That of the softmax and of sums over strips
        self.dtype = torch.promote_types(q.dtype, torch.float32)
        num_keys = num_global_tokens + len(self.offsets) * window_size**2
        chunk_bytes = self.heads * num_keys * (window_size**2 + 2 * width) * self.dtype.itemsize
        strip_bytes = STRIP_BYTES_ON_CPU if q.device.type == 'cpu' else STRIP_BYTES
        self.num_chunks = strip_bytes // max(1, chunk_bytes)

    def images(self) -> Iterator[slice]:
        """Divide the batch."""
        yield from _slices(self.batch, min(self.num_chunks, STRIP_IMAGES))

    def rectangles(self, num_images: int) -> Iterator[tuple[slice, slice]]:
        """Divide the chunks of that many images into rows and columns."""
        num_rows, num_columns = len(self.seen_rows), len(self.seen_columns)
        num_chunks = self.num_chunks // num_images
        for rows in _slices(num_rows, num_chunks // num_columns):
            for columns in _slices(num_columns, num_chunks):
                yield rows, columns

    def chunks(self, x: Tensor) -> Tensor:
        """Cut into chunks, without their surroundings."""
        return to_chunks(x, self.hw_shape, self.window_size)

    def tokens(self, chunks: Tensor) -> Tensor:
        """Undo :meth:`chunks`."""
        return from_chunks(chunks, self.hw_shape, self.window_size)

    def surround(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Split keys or values into global tokens and chunks, with a ring of chunks around the latter.

        The ring is what lies beyond the border: zeros, or chunks of the other side.
        """
        shared, grid = x.split([self.num_global, x.shape[2] - self.num_global], dim=2)
        chunks = F.pad(self.chunks(grid), (0, 0, 0, 0, 1, 1, 1, 1))
        if self.wraps:
            for dim in (2, 3):
                chunks.narrow(dim, 0, 1).copy_(chunks.narrow(dim, -2, 1))
                chunks.narrow(dim, -1, 1).copy_(chunks.narrow(dim, 1, 1))
        return shared, chunks

    def unsurround(self, shared: Tensor, chunks: Tensor) -> Tensor:
        """Turn gradients of what :meth:`surround` returns into that of its input; overwrites them."""
        if self.wraps:
            for dim in (3, 2):
                chunks.narrow(dim, -2, 1).add_(chunks.narrow(dim, 0, 1))
                chunks.narrow(dim, 1, 1).add_(chunks.narrow(dim, -1, 1))
        return torch.cat([shared, self.tokens(chunks[:, :, 1:-1, 1:-1])], dim=2)

    def gather(self, parts: Iterable[Tensor], rows: slice, columns: slice) -> Tensor:
        """Gather what each chunk of a rectangle attends to, from what :meth:`surround` returns.

        Returns:
            Tensor: ``(N, heads * chunks, G + offsets * window_size**2, d)``.
        """
        shared, chunks = parts
        attended = [chunks[_shift(rows, columns, offset)] for offset in self.offsets]
        shared = shared[:, :, None, None].expand(-1, -1, *attended[0].shape[2:4], -1, -1)
        return torch.cat([shared, *attended], dim=4).flatten(1, 3)

    def scatter(self, grad: Tensor, parts: Iterable[Tensor], rows: slice, columns: slice) -> None:
        """Add a gradient of what :meth:`gather` returns to those of its parts."""
        shared, chunks = parts
        grad = grad.unflatten(1, (self.heads, rows.stop - rows.start, columns.stop - columns.start))
        grad_shared, *grads = grad.split([self.num_global] + len(self.offsets) * [self.window_size**2], dim=4)
        shared += grad_shared.sum((2, 3), dtype=self.dtype)
        for part, offset in zip(grads, self.offsets):
            chunks[_shift(rows, columns, offset)] += part

    def bias(self, bias_table: Tensor | None, global_bias: Tensor | None) -> Tensor:
        """Lay out both biases: ``(heads, window_size**2, G + offsets * window_size**2)``."""
        device = self.seen_rows.device
        index = relative_index(self.offsets, self.window_size, device)
        zeros = torch.zeros((), dtype=self.dtype, device=device)
        table = zeros.expand(self.heads, *index.shape) if bias_table is None else bias_table[index].permute(2, 0, 1)
        shared = zeros.expand(self.heads, self.num_global) if global_bias is None else global_bias
        return torch.cat([shared[:, None].expand(-1, len(index), -1).to(self.dtype), table.to(self.dtype)], dim=-1)

    def unbias(self, grad: Tensor, bias_table: Tensor | None, global_bias: Tensor | None) -> tuple[Tensor, Tensor]:
        """Turn the gradient of what :meth:`bias` returns into those of its inputs, empty ones for missing inputs."""
        shared, grad = grad.split([self.num_global, grad.shape[2] - self.num_global], dim=2)
        table = grad.new_zeros(0)
        if bias_table is not None:
            table = grad.new_zeros(bias_table.shape)
            index = relative_index(self.offsets, self.window_size, grad.device)
            # One query meets a row of the table once: so sums have a fixed order on any device
            for rows, part in zip(index, grad.permute(1, 2, 0)):
                table.index_add_(0, rows, part)
            table = table.to(bias_table.dtype)
        shared = grad.new_zeros(0) if global_bias is None else shared.sum(1).to(global_bias.dtype)
        return table, shared

    def seen(self, rows: slice, columns: slice) -> Tensor:
        """Tell what a rectangle sees: ``(chunks, window_size**2 or 1, G + offsets * window_size**2)``."""
        seen = seen_keys(self.seen_rows[rows], self.seen_columns[columns]).flatten(0, 1)
        return F.pad(seen, (self.num_global, 0), value=True)

    def padded(self, rows: slice, columns: slice) -> Tensor | None:
        """Tell which queries of a rectangle are padding: ``(heads * chunks, window_size**2, 1)``; None if none is."""
        h, w = self.hw_shape
        if rows.stop * self.window_size <= h and columns.stop * self.window_size <= w:
            return None
        return self.padding[rows, columns].flatten(0, 1).repeat(self.heads, 1, 1)


def _masked(bias: Tensor, seen: Tensor) -> Tensor:
    """Hide what is not seen: ``(heads * chunks, window_size**2, G + offsets * window_size**2)``."""
    return torch.where(seen, bias[:, None], float('-inf')).flatten(0, 1)


def _slices(length: int, step: int) -> Iterator[slice]:
    """Divide a length into steps of at least 1."""
    for start in range(0, length, max(1, step)):
        yield slice(start, min(start + max(1, step), length))


def _shift(rows: slice, columns: slice, offset: tuple[int, int]) -> tuple[slice, ...]:
    """Index a rectangle's neighbors at an offset, in chunks with a ring around them."""
    shifted = [slice(part.start + 1 + step, part.stop + 1 + step) for part, step in zip((rows, columns), offset)]
    return slice(None), slice(None), *shifted


def _forward(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias_table: Tensor | None,
    global_bias: Tensor | None,
    h: int,
    w: int,
    window_size: int,
    num_global_tokens: int,
    mask: str,
    neighbors: str,
    scale: float,
) -> Tensor:
    strips = _Strips(q, h, w, window_size, num_global_tokens, mask, neighbors)
    out = torch.empty_like(q)
    with torch.autocast(q.device.type, enabled=False):
        bias = strips.bias(bias_table, global_bias)
        for images in strips.images():
            queries, keys, values = strips.chunks(q[images]), strips.surround(k[images]), strips.surround(v[images])
            for rows, columns in strips.rectangles(len(queries)):
                query = queries[:, :, rows, columns]
                attended = _attend(
                    query.flatten(1, 3),
                    strips.gather(keys, rows, columns),
                    strips.gather(values, rows, columns),
                    _masked(bias, strips.seen(rows, columns)),
                    scale,
                )
                # In place of its queries, which no other strip needs
                query.copy_(attended.unflatten(1, query.shape[1:4]))
            out[images] = strips.tokens(queries)
    return out


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attend with a mask that all images share, which may be more precise."""
    if query.device.type == 'cpu':
        attended = F.scaled_dot_product_attention(query, key, value, mask[None], scale=scale)
        # this function makes zeros of a softmax over nothing, which is NaN in all other backends
        if not attended.any(-1).all():
            is_hidden = mask.amax(-1, keepdim=True) == float('-inf')
            attended.masked_fill_(is_hidden | ~query.isfinite().all(-1, keepdim=True), float('nan'))
        return attended
    # on an H200, with PyTorch 2.11, that function gave wrong results in bfloat16
    return _attend_by_products(query, key, value, mask, scale)


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scale: float) -> Tensor:
    return _attention(query * scale, key, mask).to(value.dtype) @ value


def _attention(query: Tensor, key: Tensor, mask: Tensor, padded: Tensor | None = None) -> Tensor:
    """Compute attention weights, in the mask's precision; those of padded queries are all the same."""
    scores = (query @ key.mT).to(mask.dtype).add_(mask)
    return (scores if padded is None else scores.masked_fill_(padded, 0)).softmax(-1)


def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, mask: Tensor, padded: Tensor | None, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate ``scaled_dot_product_attention`` by queries, keys, values and the mask that all images share.

    Queries that are padding give no gradients, not even of NaN.
    """
    query = scale * query
    attention = _attention(query, key, mask, padded)
    grad_value = attention.to(value.dtype).mT @ grad
    # By hand, because sums in PyTorch's own differentiation of the softmax depend on the number of threads
    grad_scores = (grad @ value.mT).to(mask.dtype).mul_(attention)
    grad_scores.addcmul_(attention, grad_scores.sum(-1, keepdim=True), value=-1)
    if padded is not None:
        grad_scores.masked_fill_(padded, 0)
    grad_mask, grad_scores = grad_scores.sum(0), grad_scores.to(query.dtype)
    return scale * (grad_scores @ key), grad_scores.mT @ query, grad_value, grad_mask


def _backward(
    grad_out: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bias_table: Tensor | None,
    global_bias: Tensor | None,
    h: int,
    w: int,
    window_size: int,
    num_global_tokens: int,
    mask: str,
    neighbors: str,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    strips = _Strips(q, h, w, window_size, num_global_tokens, mask, neighbors)
    grad_q, grad_k, grad_v = (torch.empty_like(x) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):
        bias = strips.bias(bias_table, global_bias)
        grad_bias = torch.zeros_like(bias)
        for images in strips.images():
            queries, grads_out = strips.chunks(q[images]), strips.chunks(grad_out[images])
            keys, values = strips.surround(k[images]), strips.surround(v[images])
            grad_keys, grad_values = (
                [torch.zeros_like(x, dtype=strips.dtype) for x in pair] for pair in (keys, values)
            )
            for rows, columns in strips.rectangles(len(queries)):
                query, grad = (x[:, :, rows, columns] for x in (queries, grads_out))
                seen = strips.seen(rows, columns)
                grad_query, grad_key, grad_value, grad_mask = _attend_backward(
                    grad.flatten(1, 3),
                    query.flatten(1, 3),
                    strips.gather(keys, rows, columns),
                    strips.gather(values, rows, columns),
                    _masked(bias, seen),
                    strips.padded(rows, columns),
                    scale,
                )
                query.copy_(grad_query.unflatten(1, query.shape[1:4]))
                strips.scatter(grad_key, grad_keys, rows, columns)
                strips.scatter(grad_value, grad_values, rows, columns)
                grad_bias += torch.where(seen, grad_mask.unflatten(0, (strips.heads, -1)), 0).sum(1)
            grad_q[images] = strips.tokens(queries)
            grad_k[images] = strips.unsurround(*grad_keys)
            grad_v[images] = strips.unsurround(*grad_values)
    return grad_q, grad_k, grad_v, *strips.unbias(grad_bias, bias_table, global_bias)


def _fake_forward(q, *_):
    return torch.empty_like(q)


def _fake_backward(grad_out, q, k, v, bias_table, global_bias, *_):
    dtype = torch.promote_types(q.dtype, torch.float32)
    biases = [
        q.new_empty(0, dtype=dtype) if bias is None else bias.new_empty(bias.shape)
        for bias in (bias_table, global_bias)
    ]
    return *(torch.empty_like(x) for x in (q, k, v)), *biases


def _save(ctx, inputs, output) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[5:]


def _differentiate(ctx, grad_out):
    if torch.is_grad_enabled():
        grads = _differentiate_twice(ctx, grad_out)
    else:
        grads = torch.ops.vil_mm.sliding_window_attention_strips_backward(grad_out, *ctx.saved_tensors, *ctx.settings)
        grads = [grad if needed else None for grad, needed in zip(grads, ctx.needs_input_grad)]
    return *grads, *[None] * len(ctx.settings)


def _differentiate_twice(ctx, grad_out: Tensor) -> list[Tensor | None]:
    """Gradients that can be differentiated again, without saving memory."""
    q, k, v, bias_table, global_bias = tensors = ctx.saved_tensors
    h, w, window_size, num_global_tokens, *rest = ctx.settings
    out = sliding_window_attention_reference(
        q, k, v, (h, w), window_size, num_global_tokens, bias_table, global_bias, *rest
    )
    inputs = [x for x, needed in zip(tensors, ctx.needs_input_grad) if needed]
    grads = iter(torch.autograd.grad(out, inputs, grad_out, create_graph=True))
    return [next(grads) if needed else None for _, needed in zip(tensors, ctx.needs_input_grad)]


def _forward_flops(*args, out_shape=None, **kwargs) -> int:
    window_size, num_global_tokens, _, neighbors, _ = args[-5:]
    return count_flops(args[0], window_size, num_global_tokens, neighbors)


def _backward_flops(*args, out_shape=None, **kwargs) -> int:
    """Count five products where the forward has two: the scores are recomputed."""
    return 5 * _forward_flops(*args[1:]) // 2


register_op(FORWARD, _forward, _fake_forward, _forward_flops)
register_op(BACKWARD, _backward, _fake_backward, _backward_flops)
torch.library.register_autograd(FORWARD, _differentiate, setup_context=_save)


def sliding_window_attention_strips(
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
    if needs_plain_ops():
        return sliding_window_attention_reference(
            q, k, v, hw_shape, window_size, num_global_tokens, bias_table, global_bias, mask, neighbors, scale
        )
    settings = (*hw_shape, window_size, num_global_tokens, mask, str(neighbors), scale)
    return torch.ops.vil_mm.sliding_window_attention_strips(q, k, v, bias_table, global_bias, *settings)
