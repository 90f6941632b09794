"""Ways to compute sliding-window attention, under one interface: this project's and the alternatives."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

import torch
import torch.nn.functional as F
from problem import Attend, Inputs, Shape
from torch import Tensor

from vil_mm.ops import BACKENDS, sliding_window_attention
from vil_mm.ops.reference import from_chunks, relative_index, to_chunks

PUBLICATION = "publication's algorithm"
SDPA = 'full SDPA'

NEIGHBORHOOD = tuple(product((-1, 0, 1), repeat=2))


@dataclass(frozen=True)
class Method:
    """A way to compute attention.

    Attributes:
        prepare: Makes what depends only on the shape (masks, indices) and
            returns the attention, which is what is timed.
        windowed: Whether it computes sliding-window attention; else full.
        compiled: Whether its first call at a shape compiles.
    """

    prepare: Callable[[Shape, torch.device], Attend]
    windowed: bool = True
    compiled: bool = False

    def work(self, shape: Shape) -> int:
        """Multiply-adds of the products of queries and keys, which time grows with."""
        num_tokens = shape.height * shape.width
        num_keys = shape.num_keys if self.windowed else shape.num_global_tokens + num_tokens
        return shape.batch * shape.heads * num_tokens * num_keys * shape.head_dim


def prepare_backend(name: str) -> Callable[[Shape, torch.device], Attend]:
    """This project's op with one of its backends."""

    def prepare(shape: Shape, device: torch.device) -> Attend:
        def attend(inputs: Inputs) -> Tensor:
            return sliding_window_attention(
                inputs.q,
                inputs.k,
                inputs.v,
                shape.grid,
                shape.window_size,
                num_global_tokens=shape.num_global_tokens,
                bias_table=inputs.bias_table,
                global_bias=inputs.global_bias,
                backend=name,
            )

        return attend

    return prepare


def neighborhood(chunks: Tensor) -> Tensor:
    """Gather the 3x3 chunks around each chunk, with zeros beyond the border.

    Args:
        chunks (Tensor): ``(N, heads, rows, columns, tokens, d)``.

    Returns:
        Tensor: ``(N, heads, rows, columns, 9 * tokens, d)``.
    """
    rows, columns = chunks.shape[2:4]
    padded = F.pad(chunks, (0, 0, 0, 0, 1, 1, 1, 1))
    return torch.cat([padded[:, :, 1 + r : 1 + r + rows, 1 + c : 1 + c + columns] for r, c in NEIGHBORHOOD], dim=4)


def hidden_keys(shape: Shape, device: torch.device) -> Tensor:
    """Find the keys of a chunk's neighborhood that lie outside the grid.

    Returns:
        Tensor: bool ``(rows, columns, 9 * window_size**2)`` of chunks.
    """
    on_grid = torch.ones(1, 1, shape.height * shape.width, 1, device=device)
    return neighborhood(to_chunks(on_grid, shape.grid, shape.window_size))[0, 0, ..., 0] == 0


def roll(chunks: Tensor, offset: tuple[int, int]) -> Tensor:
    """Move each chunk's neighbor at an offset (row, column) to its place; the grid of chunks wraps around."""
    return chunks.roll((-offset[0], -offset[1]), (2, 3))


def unroll(chunks: Tensor, offset: tuple[int, int]) -> Tensor:
    """Undo :func:`roll`."""
    return chunks.roll(offset, (2, 3))


class RolledScores(torch.autograd.Function):
    """Products of query chunks ``(N, heads, X, Y, m, d)`` and the nine key chunks: ``(N, heads, X, Y, m, 9 * m)``."""

    @staticmethod
    def forward(ctx, q: Tensor, k: Tensor) -> Tensor:
        """Multiply by each neighbor's keys in turn."""
        ctx.save_for_backward(q, k)
        return torch.cat([torch.einsum('bhxymd,bhxynd->bhxymn', q, roll(k, offset)) for offset in NEIGHBORHOOD], -1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of queries and keys, the latter rolled back."""
        q, k = ctx.saved_tensors
        grad_q, grad_k = torch.zeros_like(q), torch.zeros_like(k)
        for part, offset in zip(grad.chunk(9, -1), NEIGHBORHOOD):
            grad_q += torch.einsum('bhxymn,bhxynd->bhxymd', part, roll(k, offset))
            grad_k += unroll(torch.einsum('bhxymn,bhxymd->bhxynd', part, q), offset)
        return grad_q, grad_k


class RolledValues(torch.autograd.Function):
    """Sum of the nine value chunks weighted by attention ``(N, heads, X, Y, m, 9 * m)``."""

    @staticmethod
    def forward(ctx, attention: Tensor, v: Tensor) -> Tensor:
        """Add up each neighbor's values in turn."""
        ctx.save_for_backward(attention, v)
        output = torch.zeros_like(v)
        for part, offset in zip(attention.chunk(9, -1), NEIGHBORHOOD):
            output += torch.einsum('bhxymn,bhxynd->bhxymd', part, roll(v, offset))
        return output

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of attention and values, the latter rolled back."""
        attention, v = ctx.saved_tensors
        grad_v = torch.zeros_like(v)
        for part, offset in zip(attention.chunk(9, -1), NEIGHBORHOOD):
            grad_v += unroll(torch.einsum('bhxymn,bhxymd->bhxynd', part, grad), offset)
        grad_attention = [torch.einsum('bhxymd,bhxynd->bhxymn', grad, roll(v, offset)) for offset in NEIGHBORHOOD]
        return torch.cat(grad_attention, -1), grad_v


def prepare_publication(shape: Shape, device: torch.device) -> Attend:
    """Vision Longformer's sliding chunks: nine rolled products, with a backward by hand.

    Written from the description of the algorithm. The whole attention matrix
    is held, and saved for the backward.
    """
    size, num_global = shape.window_size, shape.num_global_tokens
    # Global keys are never hidden
    hidden = F.pad(hidden_keys(shape, device), (num_global, 0))[:, :, None]
    index = relative_index(NEIGHBORHOOD, size, device)

    def attend(inputs: Inputs) -> Tensor:
        q = to_chunks(inputs.q * shape.head_dim**-0.5, shape.grid, size)
        k_global, k = inputs.k.split([num_global, shape.height * shape.width], dim=2)
        v_global, v = inputs.v.split([num_global, shape.height * shape.width], dim=2)
        global_scores = torch.einsum('bhxymd,bhgd->bhxymg', q, k_global)
        scores = torch.cat([global_scores, RolledScores.apply(q, to_chunks(k, shape.grid, size))], dim=-1)
        bias = inputs.bias_table[index].permute(2, 0, 1)
        if inputs.global_bias is not None:
            bias = torch.cat([inputs.global_bias[:, None].expand(-1, size**2, -1), bias], dim=-1)
        scores += bias[:, None, None]
        attention = scores.masked_fill_(hidden, float('-inf')).softmax(dim=-1)
        global_attention, attention = attention.split([num_global, 9 * size**2], dim=-1)
        output = torch.einsum('bhxymg,bhgd->bhxymd', global_attention, v_global)
        output = output + RolledValues.apply(attention, to_chunks(v, shape.grid, size))
        return from_chunks(output, shape.grid, size)

    return attend


def prepare_full(shape: Shape, device: torch.device) -> Attend:
    """Every query sees all ``G + h * w`` keys, without bias."""
    return lambda inputs: F.scaled_dot_product_attention(inputs.q, inputs.k, inputs.v)


def prepare_gathered(shape: Shape, device: torch.device) -> Attend:
    """Full attention within each chunk's gathered neighborhood, with bias and mask in one ``attn_mask``."""
    size, num_global = shape.window_size, shape.num_global_tokens
    # The GPU's fused kernels copy a mask whose row length is not a multiple of 8
    num_padding = -shape.num_keys % 8
    hidden = F.pad(hidden_keys(shape, device).flatten(0, 1), (num_global + num_padding, 0))
    hidden[:, num_global : num_global + num_padding] = True
    index = relative_index(NEIGHBORHOOD, size, device)

    def fold(chunks: Tensor) -> Tensor:
        """Make chunks the batch: ``(N * rows * columns, heads, tokens, d)``."""
        return chunks.movedim(1, 3).flatten(0, 2)

    def keys(x: Tensor) -> Tensor:
        chunks = neighborhood(to_chunks(x[:, :, num_global:], shape.grid, size))
        shared = F.pad(x[:, :, :num_global], (0, 0, 0, num_padding))[:, :, None, None]
        return fold(torch.cat([shared.expand(-1, -1, *chunks.shape[2:4], -1, -1), chunks], dim=4))

    def attend(inputs: Inputs) -> Tensor:
        q = to_chunks(inputs.q, shape.grid, size)
        global_bias = F.pad(inputs.global_bias, (0, num_padding))[:, None].expand(-1, size**2, -1)
        bias = torch.cat([global_bias, inputs.bias_table[index].permute(2, 0, 1)], dim=-1)
        mask = bias.masked_fill(hidden[:, None, None], float('-inf'))
        mask = mask.expand(shape.batch, -1, -1, -1, -1).flatten(0, 1)
        output = F.scaled_dot_product_attention(fold(q), keys(inputs.k), keys(inputs.v), attn_mask=mask)
        output = output.unflatten(0, (shape.batch, *q.shape[2:4])).movedim(3, 1)
        return from_chunks(output, shape.grid, size)

    return attend


def prepare_flex(shape: Shape, device: torch.device) -> Attend:
    """FlexAttention, tokens reordered by chunk, each chunk padded to a block of its block mask.

    So a query block visits 9 key blocks and the global tokens' own: exactly
    its neighborhood. In row-major order a block of queries would visit
    blocks of whole rows. The bias is looked up by a ``score_mod``.
    """
    # Imported here, because it loads the compiler, for which the other methods need not wait
    from torch.nn.attention.flex_attention import BlockMask, flex_attention

    size, num_global = shape.window_size, shape.num_global_tokens
    rows, columns = -(-shape.height // size), -(-shape.width // size)
    # A multiple of the kernels' tiles
    block = -(-max(size**2, num_global) // 64) * 64
    num_prefix = block if num_global else 0

    def to_blocks(x: Tensor) -> Tensor:
        chunks = to_chunks(x, shape.grid, size)
        return F.pad(chunks, (0, 0, 0, block - size**2)).flatten(2, 4)

    def keys(x: Tensor) -> Tensor:
        prefix = F.pad(x[:, :, :num_global], (0, 0, 0, num_prefix - num_global))
        return torch.cat([prefix, to_blocks(x[:, :, num_global:])], dim=2)

    # Which key blocks each query block visits; the mask tells which of their keys count
    chunk = torch.arange(rows * columns, device=device, dtype=torch.int32)
    chunk_row, chunk_column = chunk // columns, chunk % columns
    visits = ((chunk_row[:, None] - chunk_row).abs() <= 1) & ((chunk_column[:, None] - chunk_column).abs() <= 1)
    visits = F.pad(visits, (num_prefix // block, 0), value=True)
    on_grid = torch.ones(1, 1, num_global + shape.height * shape.width, 1, device=device)
    counts = keys(on_grid).flatten() > 0
    block_mask = BlockMask.from_kv_blocks(
        visits.sum(1, dtype=torch.int32)[None, None],
        visits.to(torch.int8).argsort(dim=1, descending=True, stable=True).to(torch.int32)[None, None],
        BLOCK_SIZE=block,
        mask_mod=lambda batch, head, query, key: counts[key],
        seq_lengths=(rows * columns * block, num_prefix + rows * columns * block),
    )

    # The row of the bias table is a difference of one number of the query and
    # one of the key; slots of padding take any row of the table
    inner = torch.arange(block, device=device, dtype=torch.int32)
    inner = torch.where(inner < size**2, inner, 0)
    row = (chunk_row[:, None] * size + inner // size).flatten()
    column = (chunk_column[:, None] * size + inner % size).flatten()
    key_number = row * (4 * size - 1) + column
    query_number = key_number + (2 * size - 1) * 4 * size
    prefix = torch.arange(num_prefix, device=device, dtype=torch.int32)
    key_number = torch.cat([(4 * size - 1) ** 2 + prefix.clamp(max=num_global - 1), key_number])

    def lay_out(inputs: Inputs) -> tuple[Tensor, ...]:
        table = torch.cat([inputs.bias_table.T, inputs.global_bias], dim=1)
        return to_blocks(inputs.q), keys(inputs.k), keys(inputs.v), table

    def flex(q: Tensor, k: Tensor, v: Tensor, table: Tensor, block_mask: BlockMask) -> Tensor:
        def add_bias(score, batch, head, query, key):
            local = query_number[query] - key_number[key]
            return score + table[head, torch.where(key < num_prefix, key_number[key], local)]

        return flex_attention(q, k, v, score_mod=add_bias, block_mask=block_mask)

    def restore(output: Tensor) -> Tensor:
        chunks = output.unflatten(2, (rows, columns, block))[:, :, :, :, : size**2]
        return from_chunks(chunks, shape.grid, size)

    # After a few shapes, the compiler would silently run uncompiled code
    torch.compiler.reset()
    compile_ = partial(torch.compile, dynamic=False, fullgraph=True)
    lay_out, restore = compile_(lay_out), compile_(restore)
    # Compiled separately: on the CPU, FlexAttention cannot take inputs computed in the same graph.
    # The default tiles of some GPUs do not divide a block; tuning finds the best that do.
    flex = compile_(flex, mode='max-autotune-no-cudagraphs' if device.type == 'cuda' else None)

    def attend(inputs: Inputs) -> Tensor:
        if device.type == 'cpu' and torch.is_grad_enabled():
            raise NotImplementedError('FlexAttention has no backward on the CPU')
        return restore(flex(*lay_out(inputs), block_mask))

    return attend


METHODS = {f'ours ({name})': Method(prepare_backend(name)) for name in BACKENDS} | {
    PUBLICATION: Method(prepare_publication),
    SDPA: Method(prepare_full, windowed=False),
    'gathered SDPA': Method(prepare_gathered),
    'FlexAttention': Method(prepare_flex, compiled=True),
}
