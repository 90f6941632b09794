"""The ops as launches of the kernels."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from .. import _library
from .._library import decode_neighbors, empty_tokens, triton_lse_dtype
from ..checks import check_mask_and_neighbors, check_tensors
from ..places import TILE, get_places
from ..reference import chunk_offsets
from .backward import backward_globals_kernel, backward_keys_kernel, backward_queries_kernel, backward_table_kernel
from .bias_table import expand_biases, list_biases, reduce_table
from .forward import forward_kernel
from .settings import GLOBALS, is_before_hopper, options
from .tiles import Inputs, Places, Saved, Sizes, Tokens

#: Queries that one program takes into the gradients of global tokens.
QUERIES_OF_PART = 256
#: About how many programs sum the bias table's gradient, and how many images and chunks one has at least.
TABLE_PROGRAMS, ITEMS_OF_PART = 1024, 8
#: Memory for what they sum. One head may take more.
TABLE_BYTES = 64 * 2**20


def allows_tf32(q: Tensor) -> bool:
    """Tell whether products may round float32 to TF32."""
    on_nvidia = q.device.type == 'cuda' and not torch.version.hip
    return q.dtype == torch.float32 and on_nvidia and _library.allows_tf32()


def _unit_stride(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


class _Call:
    """What the forward and the backward have in common."""

    def __init__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        bias_table: Tensor | None,
        global_bias: Tensor | None,
        height: int,
        width: int,
        window_size: int,
        num_global_tokens: int,
        mask: str,
        neighbors: int,
        scale: float,
    ) -> None:
        self.window_size, self.neighbors = window_size, decode_neighbors(neighbors)
        # so that no kernel reads out of bounds, whoever calls it
        check_mask_and_neighbors(mask, self.neighbors)
        check_tensors(q, k, v, (height, width), window_size, num_global_tokens, bias_table, global_bias)
        self.device, self.dtype = q.device, q.dtype
        on_gpu = self.device.type != 'cpu'
        self.on_device = torch.get_device_module(self.device).device(self.device) if on_gpu else nullcontext()
        self.batch, self.heads, num_queries, self.head_width = q.shape
        self.precision = 'tf32' if allows_tf32(q) else 'ieee'
        with self.on_device:
            self.before_hopper = is_before_hopper()
        unit = self.options(forward_kernel)['UNIT']
        self.places = get_places((height, width), window_size, mask, self.neighbors, num_global_tokens, self.device)
        (chunks, square), neighborhood = self.places.square.shape, self.places.neighborhood.shape[1]
        keys = num_global_tokens + len(chunk_offsets(self.neighbors)) * window_size**2
        shift = round(8 * math.log(keys)) / 8 if unit == 1 else 0.0
        self.sizes = Sizes(
            self.heads, chunks, square, neighborhood, num_queries, num_global_tokens, scale, shift, math.exp(-shift)
        )
        self.biases = list_biases(bias_table, global_bias, self.places, self.heads, unit)
        expanded = expand_biases(self.biases, self.places.biases)
        self.inputs = Inputs(*(Tokens.of(_unit_stride(x)) for x in (q, k, v, expanded)))
        self.keys = Places.of(self.places.keys)
        self.chunk_tiles = self.batch * self.heads * chunks * (square // TILE)

    def options(self, kernel) -> dict[str, Any]:
        """List the constants and compiler options of a kernel."""
        return options(kernel, self.dtype, self.head_width, self.precision, self.before_hopper)

    def launch(self, kernel, programs: int, *args) -> None:
        """Launch this many programs, if any."""
        if programs:
            kernel[(programs,)](*args, **self.options(kernel))

    def parts(self, *shape: int) -> Tensor:
        """Make memory for sums that are not final."""
        return torch.empty(shape, dtype=torch.float32, device=self.device)


def forward(q, k, v, bias_table, global_bias, *settings) -> tuple[Tensor, Tensor]:
    """Compute the output and the log-sum-exp of each query."""
    call = _Call(q, k, v, bias_table, global_bias, *settings)
    out, lse = empty_tokens(q), q.new_empty(q.shape[:3], dtype=triton_lse_dtype(q))
    results = (Tokens.of(out), lse)
    with call.on_device:
        call.launch(forward_kernel, call.chunk_tiles, call.inputs, *results, call.places.square, call.keys, call.sizes)
    return out, lse


def backward(grad_out, q, k, v, out, lse, bias_table, global_bias, *settings) -> tuple[Tensor, ...]:
    """Compute the gradients of the tensors and the biases; those of absent biases are empty."""
    call = _Call(q, k, v, bias_table, global_bias, *settings)
    for name, x, shape in (('grad_out', grad_out, q.shape), ('out', out, q.shape), ('lse', lse, q.shape[:3])):
        if x.shape != shape:
            raise ValueError(f'{name} has shape {tuple(x.shape)}, must be {tuple(shape)}')
    biases = bias_table, global_bias
    if not call.chunk_tiles:
        return *map(torch.zeros_like, (q, k, v)), *(
            q.new_zeros(0) if x is None else torch.zeros_like(x) for x in biases
        )
    grads = [empty_tokens(x) for x in (q, k, v)]
    grad_q, grad_k, grad_v = map(Tokens.of, grads)
    saved = Saved(Tokens.of(_unit_stride(grad_out)), call.parts(*lse.shape), call.parts(*lse.shape))
    with call.on_device:
        of_queries = (Tokens.of(_unit_stride(out)), lse.contiguous(), grad_q, call.places.square, call.keys, call.sizes)
        call.launch(backward_queries_kernel, call.chunk_tiles, call.inputs, saved, *of_queries)
        mirrored = call.inputs._replace(biases=Tokens.of(expand_biases(call.biases, call.places.mirrored)))
        of_keys = (grad_k, grad_v, call.places.square, Places.of(call.places.seers), call.sizes)
        call.launch(backward_keys_kernel, call.chunk_tiles, mirrored, saved, *of_keys)
        k_sums, v_sums, bias_sums = _sum_globals(call, saved)
        table_sums = None if bias_table is None else _sum_table(call, saved)
    grads[1][:, :, : call.sizes.globals] = k_sums
    grads[2][:, :, : call.sizes.globals] = v_sums
    sums = table_sums, bias_sums
    return *grads, *(q.new_empty(0) if x is None else total.to(x.dtype) for x, total in zip(biases, sums))


def _sum_globals(call: _Call, saved: Saved) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the gradients of the global tokens' keys, values and biases."""
    num_parts, num_global = -(-call.sizes.queries // QUERIES_OF_PART), call.sizes.globals
    shape = (call.batch, call.heads, num_parts, num_global)
    parts = call.parts(*shape, call.head_width), call.parts(*shape, call.head_width), call.parts(*shape)
    programs = call.batch * call.heads * num_parts * -(-num_global // GLOBALS)
    call.launch(backward_globals_kernel, programs, call.inputs, saved, *parts, call.sizes, QUERIES_OF_PART)
    return parts[0].sum(2), parts[1].sum(2), parts[2].sum((0, 2))


def _sum_table(call: _Call, saved: Saved) -> Tensor:
    """Compute the gradient of the bias table."""
    sizes = call.sizes
    tiles = sizes.square // TILE * (sizes.neighborhood // call.options(backward_table_kernel)['COLUMNS'])
    num_parts = max(1, min(call.batch * sizes.chunks // ITEMS_OF_PART, TABLE_PROGRAMS // (call.heads * tiles)))
    group = max(1, TABLE_BYTES // (4 * num_parts * sizes.square * sizes.neighborhood))
    lists = (call.places.square, call.places.neighborhood, Places.of(call.places.visits), len(call.places.biases) - 1)
    grads = []
    for first in range(0, call.heads, group):
        heads = min(group, call.heads - first)
        parts = call.parts(heads, num_parts, sizes.square, sizes.neighborhood)
        programs = heads * num_parts * tiles
        call.launch(
            backward_table_kernel, programs, call.inputs, saved, parts, *lists, sizes, call.batch, first, num_parts
        )
        grads.append(reduce_table(parts, call.places.pairs))
    return torch.cat(grads, dim=1)
