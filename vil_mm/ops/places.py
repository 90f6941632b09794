"""Place lists: which tokens a chunk attends to, and where the bias of each pair of a query and a key lies.

A kernel that loops over them needs to know of neither masks nor borders, nor of global tokens. They depend only on
sizes and are cached.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace

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
        terms (Tensor): int32, ``(chunks, length)``: the bias of a query and a
            key is in row ``query term + key term`` of the bias table.
        counts (Tensor): int32, ``(chunks,)``: what lies beyond is filling.
    """

    tokens: Tensor
    terms: Tensor
    counts: Tensor


@dataclass(frozen=True)
class Places:
    """The lists of a grid.

    Attributes:
        queries (PlaceList): The queries of each chunk.
        keys (PlaceList): The keys that they see, global tokens first.
        own_keys (PlaceList): The keys of each chunk.
        seers (PlaceList): The queries that see them, several times on a small
            grid, where a chunk can be a neighbor on several sides.
        square (PlaceList): All places of each chunk, for queries.
        neighborhood (PlaceList): All places of each chunk's neighborhood, for
            keys. Each has the same term in all chunks, even if hidden.
        visits (PlaceList): The chunks that see any of a tile of
            ``neighborhood``, for each tile.
        shown (Tensor): float32, ``(rows,)``: what the mask adds to each row of
            the bias table, 0 or minus infinity; then minus infinity where
            hidden keys lead; then 0 for the biases of global tokens, each
            once for every term that a query can have.
    """

    queries: PlaceList
    keys: PlaceList
    own_keys: PlaceList
    seers: PlaceList
    square: PlaceList
    neighborhood: PlaceList
    visits: PlaceList
    shown: Tensor

    @property
    def nbytes(self) -> int:
        """Memory of all tensors."""
        return sum(x.nbytes for x in self.tensors())

    def tensors(self) -> list[Tensor]:
        """List all tensors."""
        lists = [x for x in vars(self).values() if isinstance(x, PlaceList)]
        return [self.shown, *(tensor for x in lists for tensor in vars(x).values())]


def _fill(tokens: Tensor, terms: Tensor, hidden_term: int = 0) -> PlaceList:
    """Make a list of all places."""
    filling = (0, -tokens.shape[1] % TILE)
    counts = torch.full_like(tokens[:, 0], tokens.shape[1])
    return PlaceList(F.pad(tokens, filling, value=HIDDEN), F.pad(terms, filling, value=hidden_term), counts)


def _compact(tokens: Tensor, terms: Tensor, hidden_term: int = 0) -> PlaceList:
    """Make a list of the places that are not hidden."""
    ranks = (tokens != HIDDEN).cumsum(1, dtype=torch.int32)
    wanted = torch.arange(1, tokens.shape[1] + 1, dtype=torch.int32, device=tokens.device)
    index = torch.searchsorted(ranks, wanted.expand_as(ranks).contiguous())
    tokens, terms = (F.pad(x, (0, 1), value=HIDDEN).gather(1, index) for x in (tokens, terms))
    filled = _fill(tokens, torch.where(tokens == HIDDEN, hidden_term, terms), hidden_term)
    return replace(filled, counts=ranks[:, -1].contiguous())


def query_terms(window_size: int) -> int:
    """Count the terms that a query can have, which begin at 0."""
    return (window_size - 1) * 4 * window_size + 1


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
    size, side = window_size, 4 * window_size - 1

    def neighborhood(*offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of all places, and their coordinates in the chunk as one number: ``(chunks, offsets * size**2)``."""
        axes = []
        for length, along in zip(hw_shape, offsets):
            queries, keys = key_coordinates(length, along, size)
            real = keys % queries.numel()  # wrapped around
            seen = axis_mask(length, along, size, mask).any(1)
            axes.append((real, real < length, seen, keys - queries[:, None, :1]))
        # chunk row, chunk column, offset, row, column
        (row, on_row, row_seen, place_row), (column, on_column, column_seen, place_column) = (
            [x[:, None, :, :, None] for x in axes[0]],
            [x[None, :, :, None, :] for x in axes[1]],
        )
        tokens = torch.where(on_row & on_column, row * hw_shape[1] + column, ZERO)
        tokens = torch.where(row_seen & column_seen, tokens, HIDDEN)
        places = place_row * side + place_column
        return tokens.int().flatten(2).flatten(0, 1), places.int().flatten(2).flatten(0, 1)

    # a tensor of Python numbers would be copied to the GPU
    offsets = [torch.stack([torch.full((), x, device=device) for x in axis]) for axis in zip(*chunk_offsets(neighbors))]
    keys, key_places = neighborhood(*offsets)
    own, own_places = neighborhood(*(x.new_zeros(1) for x in offsets))
    seers, seer_places = neighborhood(*(-x for x in offsets))  # seeing is mutual
    own, seers = (torch.where(x == ZERO, HIDDEN, x) for x in (own, seers))
    middle, hidden_term = (2 * size - 1) * (side + 1), side**2
    keys, own_keys = (torch.where(x < 0, x, x + num_global_tokens) for x in (keys, own))

    neighborhood_list = _fill(keys, middle - key_places)
    visited = (neighborhood_list.tokens != HIDDEN).unflatten(1, (-1, TILE)).any(2).T
    chunks = torch.arange(len(keys), dtype=torch.int32, device=device)
    visits = torch.where(visited, chunks, HIDDEN)

    shown = within_window(torch.arange(side, device=device) - (2 * size - 1), size) | (mask != 'exact')
    shown = (shown[:, None] & shown).flatten()
    shown = torch.zeros(shown.shape, device=device).masked_fill(~shown, float('-inf'))
    shown = F.pad(shown, (0, query_terms(size)), value=float('-inf'))
    shown = F.pad(shown, (0, num_global_tokens * query_terms(size)))

    globals_ = torch.arange(num_global_tokens, dtype=torch.int32, device=device).expand(len(keys), -1)
    global_terms = hidden_term + (globals_ + 1) * query_terms(size)
    return Places(
        queries=_compact(own, own_places),
        keys=_compact(
            torch.cat([globals_, keys], 1), torch.cat([global_terms, middle - key_places], 1), hidden_term
        ),
        own_keys=_compact(own_keys, middle - own_places, middle),
        seers=_compact(seers, seer_places),
        square=_fill(own, own_places),
        neighborhood=neighborhood_list,
        visits=_compact(visits, visits),
        shown=shown,
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
