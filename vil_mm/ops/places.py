"""Place lists: which tokens a chunk attends to, and which bias each pair of a query and a key has.

A kernel that loops over them needs to know of neither masks nor borders, nor of global tokens. They depend only on
sizes and are cached.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .reference import axis_mask, chunk_offsets, key_coordinates, within_window

#: What stands in a list for a key of zeros, and for nothing.
ZERO, HIDDEN = -1, -2
#: Lists are filled up to a multiple of this, the largest tile of a kernel.
TILE = 64
#: Cached lists take at most this many bytes; the ones used last are kept.
CACHE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class PlaceList:
    """A list for each chunk.

    Attributes:
        tokens (Tensor): int32, ``(chunks, length)``: places in the queries or
            in the keys, or :data:`ZERO` or :data:`HIDDEN`.
        places (Tensor): int32, of the same shape: places among all that the
            chunk could have.
        counts (Tensor): int32, ``(chunks,)``: what lies beyond is filling.
    """

    tokens: Tensor
    places: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Places:
    """The lists of a grid.

    All places that a chunk could have are, for keys: the global tokens, its neighborhood, and one for hidden keys.

    Attributes:
        square (Tensor): int32, ``(chunks, size)``: tokens of the chunks
            themselves, or :data:`HIDDEN`.
        neighborhood (Tensor): int32, ``(chunks, places)``: tokens of the keys
            around each chunk, without the global ones.
        keys (PlaceList): The keys that the chunks see, global tokens first.
        seers (PlaceList): The queries that see the keys of each chunk,
            several times on a small grid, where a chunk can be a neighbor on
            several sides.
        visits (PlaceList): The chunks that see any of a tile of
            ``neighborhood``, for each tile.
        biases (Tensor): int32, ``(places for keys, size)``: which bias a key's
            place and a query's have: a row of the bias table, then a global
            token's, then minus infinity, for pairs that do not see each other.
        mirrored (Tensor): The same for each place of a query that sees a
            chunk, and one for hidden queries, and each place of a key in it.
        pairs (Tensor): int32, ``(rows of the bias table, places)``: pairs of a
            query's place and a key's, as numbers ``query * neighborhood +
            key``, that have this bias; filled up with a number that is too
            large by one.
    """

    square: Tensor
    neighborhood: Tensor
    keys: PlaceList
    seers: PlaceList
    visits: PlaceList
    biases: Tensor
    mirrored: Tensor
    pairs: Tensor

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(x.nbytes for x in self.tensors())

    def tensors(self) -> list[Tensor]:
        """List all tensors."""
        values = [[*vars(x).values()] if isinstance(x, PlaceList) else [x] for x in vars(self).values()]
        return [tensor for tensors in values for tensor in tensors]


def _fill(x: Tensor, value: int = HIDDEN) -> Tensor:
    """Fill lists up to whole tiles."""
    return F.pad(x, (0, -x.shape[-1] % TILE), value=value)


def _compact(tokens: Tensor) -> PlaceList:
    """Make lists of the places that are not hidden, filled up with the place behind the last one."""
    ranks = (tokens != HIDDEN).cumsum(1, dtype=torch.int32)
    wanted = _fill(torch.arange(1, tokens.shape[1] + 1, dtype=torch.int32, device=tokens.device), 2**30)
    places = torch.searchsorted(ranks, wanted.expand(len(ranks), -1).contiguous(), out_int32=True)
    return PlaceList(F.pad(tokens, (0, 1), value=HIDDEN).gather(1, places.long()), places, ranks[:, -1].contiguous())


def make_places(
    hw_shape: tuple[int, int],
    window_size: int,
    mask: str,
    neighbors: str | int,
    num_global_tokens: int,
    device: torch.device,
) -> Places:
    """Make the lists. For the arguments, see :func:`vil_mm.ops.sliding_window_attention`.

    On a GPU, this neither waits nor copies, so that a CUDA graph can capture
    it.
    """
    size = window_size
    # a tensor of Python numbers would be copied to the GPU
    offsets = [torch.stack([torch.full((), x, device=device) for x in axis]) for axis in zip(*chunk_offsets(neighbors))]

    def tokens_around(*offsets: Tensor) -> Tensor:
        """Tokens of all places around each chunk: ``(chunks, offsets * size**2)``."""
        axes = []
        for length, along in zip(hw_shape, offsets):
            queries, keys = key_coordinates(length, along, size)
            real = keys % queries.numel()  # wrapped around
            axes.append((real, real < length, axis_mask(length, along, size, mask).any(1)))
        # chunk row, chunk column, offset, row, column
        row, on_row, row_seen = (x[:, None, :, :, None] for x in axes[0])
        column, on_column, column_seen = (x[None, :, :, None, :] for x in axes[1])
        tokens = torch.where(on_row & on_column, row * hw_shape[1] + column, ZERO)
        return torch.where(row_seen & column_seen, tokens, HIDDEN).int().flatten(2).flatten(0, 1)

    keys = tokens_around(*offsets)
    keys = torch.where(keys < 0, keys, keys + num_global_tokens)
    own, seers = tokens_around(*(x.new_zeros(1) for x in offsets)), tokens_around(*(-x for x in offsets))
    own, seers = (torch.where(x == ZERO, HIDDEN, x) for x in (own, seers))  # seeing is mutual
    globals_ = torch.arange(num_global_tokens, dtype=torch.int32, device=device).expand(len(keys), -1)
    neighborhood = _fill(keys)
    visited = (neighborhood != HIDDEN).unflatten(1, (-1, TILE)).any(2).T
    chunks = torch.arange(len(keys), dtype=torch.int32, device=device)

    # key offset, key row, key column, query row, query column
    inner = torch.arange(size, device=device)
    row, column = (inner - (along[:, None] * size + inner)[:, :, None] for along in offsets)
    row, column = row[:, :, None, :, None], column[:, None, :, None, :]
    table = ((row + 2 * size - 1) * (4 * size - 1) + column + 2 * size - 1).flatten(3).flatten(1, 2)
    exact = (within_window(row, size) & within_window(column, size)).flatten(3).flatten(1, 2)
    num_rows = (4 * size - 1) ** 2
    hidden = num_rows + num_global_tokens
    biases = torch.where(exact, table, hidden) if mask == 'exact' else table
    numbers = torch.arange(size**2, device=device) * neighborhood.shape[1]
    numbers = numbers + torch.arange(keys.shape[1], device=device)[:, None]
    square = _fill(own)
    pairs = torch.full((num_rows, size**2), square.shape[1] * neighborhood.shape[1], device=device)
    of_globals = num_rows + torch.arange(num_global_tokens, device=device)[:, None].expand(-1, square.shape[1])
    return Places(
        square=square,
        neighborhood=neighborhood,
        keys=_compact(torch.cat([globals_, keys], 1)),
        seers=_compact(seers),
        visits=_compact(torch.where(visited, chunks, HIDDEN)),
        biases=F.pad(torch.cat([of_globals, _fill(biases.flatten(0, 1), 0)]), (0, 0, 0, 1), value=hidden).int(),
        mirrored=F.pad(_fill(biases.mT.flatten(0, 1), 0), (0, 0, 0, 1), value=hidden).int(),
        pairs=pairs.scatter(0, table.flatten(0, 1), numbers).int(),
    )


class _Cache:
    """The places of the grids used last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.entries: OrderedDict[tuple, tuple[Places, object]] = OrderedDict()  # with the stream that made them
        self.bytes = 0
        self.captured: dict[int, Places] = {}

    def get(self, *key) -> Places:
        device = key[-1]
        stream, capturing = None, False
        if device.type != 'cpu':
            module = torch.get_device_module(device)
            stream = module.current_stream(device)
            capturing = getattr(module, 'is_current_stream_capturing', bool)()
        with self.lock:
            if key in self.entries:
                self.entries.move_to_end(key)
                places, maker = self.entries[key]
                if capturing:
                    # graphs read their memory whenever they are replayed
                    self.captured[id(places)] = places
                elif stream != maker:
                    # once evicted, their memory must not be reused before this stream is done
                    for tensor in places.tensors():
                        tensor.record_stream(stream)
                return places
            places = make_places(*key)
            if capturing:
                # only the graph makes these, each time that it is replayed
                return places
            if stream is not None:
                stream.synchronize()  # so that all streams can use them
            self.entries[key] = places, stream
            self.bytes += places.nbytes
            while self.bytes > CACHE_BYTES and len(self.entries) > 1:
                _, (evicted, _) = self.entries.popitem(last=False)
                self.bytes -= evicted.nbytes
            return places


#: Like :func:`make_places`, but cached per device; safe with threads, streams and CUDA graphs.
get_places = _Cache().get
