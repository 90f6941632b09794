"""Place lists against the definition, written as a loop over pairs of tokens; and their cache."""

import itertools
import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_ops.test_sliding_window_attention import pairs
from vil_mm.ops import places as module
from vil_mm.ops.checks import NEIGHBORS
from vil_mm.ops.places import HIDDEN, TILE, ZERO, PlaceList, get_places, make_places, query_terms

CPU = torch.device('cpu')


def listed(queries: PlaceList, keys: PlaceList, shown):
    """What lists say, as ``pairs`` does: how often each pair comes."""
    found = Counter()
    for query_list, key_list in zip(zip(queries.tokens, queries.terms), zip(keys.tokens, keys.terms)):
        rows = query_list[1][:, None] + key_list[1]
        tokens, others = (x.expand_as(rows) for x in (query_list[0][:, None], key_list[0]))
        seen = (tokens >= 0) & (others != HIDDEN)
        seen &= shown[rows.clamp(0, len(shown) - 1).long()] == 0
        found.update(zip(tokens[seen].tolist(), others[seen].tolist(), rows[seen].tolist()))
    return found


def draw_problems(count, seed):
    draw = random.Random(seed)
    for _ in range(count):
        mask = draw.choice(['block', 'exact', 'cyclic', 'torus'])
        hw_shape = draw.randint(1, 9), draw.randint(1, 9)
        neighbors = 'all' if mask == 'exact' else draw.choice(NEIGHBORS)
        yield hw_shape, draw.randint(1, 5), mask, neighbors, draw.randint(0, 3)


def pairs_with_globals(hw_shape, window_size, num_global_tokens):
    """Pairs of a query and a global token; the tokens' biases follow the table and what is hidden."""
    side, terms = 4 * window_size - 1, query_terms(window_size)
    for row, column, token in itertools.product(*map(range, (*hw_shape, num_global_tokens))):
        term = row % window_size * side + column % window_size
        assert term < terms
        yield row * hw_shape[1] + column, token, side**2 + (1 + token) * terms + term


def test_definition():
    """1,000 random problems."""
    for problem in draw_problems(1000, seed=0):
        places, num_global = make_places(*problem, CPU), problem[-1]
        local = Counter(
            (query, ZERO if key is None else key + num_global, row) for query, key, row in pairs(*problem[:-1])
        )
        shown, expected = places.shown, local + Counter(pairs_with_globals(*problem[:2], num_global))
        assert listed(places.queries, places.keys, shown) == expected, problem
        assert listed(places.square, places.neighborhood, shown) == local, problem
        assert places.keys.tokens[:, :num_global].tolist() == [list(range(num_global))] * len(places.keys.tokens)
        # whatever is hidden, kernels read a row of the table, and find minus infinity where a key is hidden
        rows = (places.queries.terms[:, :, None] + places.keys.terms[:, None]).long()
        assert shown[rows.movedim(1, 0)[:, places.keys.tokens == HIDDEN]].isneginf().all() and rows.min() >= 0, problem
        real = Counter({pair: count for pair, count in local.items() if pair[1] != ZERO})
        assert listed(places.seers, places.own_keys, shown) == real, problem
        rows = places.seers.terms[:, :, None] + places.own_keys.terms[:, None]
        assert rows.min() >= 0 and rows.max() < len(shown), problem


def test_layout():
    """Filling is at the end; places of a neighborhood have the same terms in all chunks; visits are to the point."""
    for problem in draw_problems(100, seed=1):
        places = make_places(*problem, CPU)
        for name in ('queries', 'keys', 'own_keys', 'seers', 'visits'):
            list_ = getattr(places, name)
            within = torch.arange(list_.tokens.shape[1]) < list_.counts[:, None]
            assert torch.equal(list_.tokens != HIDDEN, within), (name, problem)
            assert list_.tokens.shape[1] % TILE == 0
        tokens, terms = places.neighborhood.tokens, places.neighborhood.terms
        assert torch.equal(terms, terms[:1].expand_as(terms))
        visited = (tokens != HIDDEN).unflatten(1, (-1, TILE)).any(2)
        for tile, (chunks, count) in enumerate(zip(places.visits.tokens, places.visits.counts)):
            assert chunks[:count].tolist() == visited[:, tile].nonzero().flatten().tolist()


def test_cache_is_bounded(monkeypatch):
    cache = module._Cache()
    problems = [((9, size), 3, 'block', 'all', 1, CPU) for size in range(1, 9)]
    first = cache.get(*problems[0])
    assert cache.get(*problems[0]) is first
    monkeypatch.setattr(module, 'CACHE_BYTES', 3 * cache.get(*problems[-1]).nbytes)
    for problem in problems:
        cache.get(*problem)
        assert cache.bytes == sum(places.nbytes for places, _ in cache.entries.values()) <= module.CACHE_BYTES
    assert 1 < len(cache.entries) < len(problems) and cache.get(*problems[0]) is not first
    monkeypatch.setattr(module, 'CACHE_BYTES', 0)
    cache.get(*problems[3])
    assert len(cache.entries) == 1  # the last one always is kept


@pytest.fixture
def gpu(monkeypatch):
    """A GPU as the cache sees it; lists lie on the CPU."""

    class Stream:
        synchronized = 0

        def synchronize(self):
            self.synchronized += 1

    gpu = SimpleNamespace(stream=Stream(), capturing=False, Stream=Stream, recorded=Counter())
    gpu.current_stream = lambda device: gpu.stream
    gpu.is_current_stream_capturing = lambda: gpu.capturing
    monkeypatch.setattr(torch, 'get_device_module', lambda device: gpu)
    monkeypatch.setattr(torch.Tensor, 'record_stream', lambda tensor, stream: gpu.recorded.update([stream]))
    monkeypatch.setattr(module, 'make_places', lambda *key: make_places(*key[:-1], CPU))
    return gpu


PROBLEM = ((9, 8), 3, 'block', 'all', 1, torch.device('cuda', 0))


def test_streams(gpu):
    """All streams may use what one has made, and its memory waits for them."""
    cache, maker = module._Cache(), gpu.stream
    places = cache.get(*PROBLEM)
    assert maker.synchronized == 1 and cache.get(*PROBLEM) is places
    assert maker.synchronized == 1 and not gpu.recorded
    gpu.stream = gpu.Stream()
    assert cache.get(*PROBLEM) is places
    assert gpu.recorded == {gpu.stream: len(places.tensors())} and not gpu.stream.synchronized


def test_capture(gpu, monkeypatch):
    """A graph makes its own lists, or keeps the cached ones as long as it may be replayed."""
    cache = module._Cache()
    gpu.capturing = True
    assert cache.get(*PROBLEM) is not cache.get(*PROBLEM)  # memory of the graph is no one else's
    assert not cache.entries and not gpu.stream.synchronized
    gpu.capturing = False
    places = cache.get(*PROBLEM)
    gpu.capturing, gpu.stream = True, gpu.Stream()
    assert cache.get(*PROBLEM) is places and not gpu.recorded
    gpu.capturing = False
    monkeypatch.setattr(module, 'CACHE_BYTES', 0)
    cache.get((3, 3), *PROBLEM[1:])
    assert [key[0] for key in cache.entries] == [(3, 3)]
    assert list(cache.captured.values()) == [places]


def test_lists_can_be_captured():
    """They take no numbers from Python and give none to it, for which a GPU would have to copy and wait."""
    forbidden = {'lift_fresh', '_local_scalar_dense', 'nonzero', 'masked_select'}

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            assert op.overloadpacket.__name__ not in forbidden
            return op(*args, **(kwargs or {}))

    with Watch():
        make_places((7, 9), 3, 'cyclic', 4, 2, CPU)
        with pytest.raises(AssertionError):
            torch.tensor([1])


def test_shared_cache():
    assert get_places((5, 6), 3, 'block', 'all', 1, CPU) is get_places((5, 6), 3, 'block', 'all', 1, CPU)
