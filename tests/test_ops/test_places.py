"""Place lists against the definition, written as a loop over pairs of tokens; and their cache."""

import itertools
import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tests.test_ops.test_sliding_window_attention import pairs
from vil_mm.ops import places as module
from vil_mm.ops.checks import NEIGHBORS
from vil_mm.ops.places import HIDDEN, TILE, ZERO, get_places, make_places
from vil_mm.ops.reference import chunk_offsets, relative_index

CPU = torch.device('cpu')


def listed(square, tokens, places, numbers):
    """What lists say, as ``pairs`` does: how often each pair comes, of a token listed and one of the chunk itself."""
    found = Counter()
    for own, others, theirs in zip(square, tokens, places):
        rows = numbers[theirs]
        own, others = own.expand_as(rows), others[:, None].expand_as(rows)
        seen = (own >= 0) & (others != HIDDEN) & (rows != numbers.max())
        found.update(zip(own[seen].tolist(), others[seen].tolist(), rows[seen].tolist()))
    return found


def draw_problems(count, seed):
    draw = random.Random(seed)
    for _ in range(count):
        mask = draw.choice(['block', 'exact', 'cyclic', 'torus'])
        hw_shape = draw.randint(1, 9), draw.randint(1, 9)
        neighbors = 'all' if mask == 'exact' else draw.choice(NEIGHBORS)
        yield hw_shape, draw.randint(1, 5), mask, neighbors, draw.randint(0, 3)


def test_definition():
    """1,000 random problems."""
    for problem in draw_problems(1000, seed=0):
        places, ((h, w), size, *_, num_global) = make_places(*problem, CPU), problem
        local = Counter(
            (query, ZERO if key is None else key + num_global, row) for query, key, row in pairs(*problem[:-1])
        )
        all_globals = itertools.product(range(h * w), range(num_global))
        expected = local + Counter((query, token, (4 * size - 1) ** 2 + token) for query, token in all_globals)
        keys, seers, around = places.keys, places.seers, places.neighborhood
        assert listed(places.square, keys.tokens, keys.places, places.biases) == expected, problem
        numbered = (num_global + torch.arange(around.shape[1])).clamp(max=len(places.biases) - 1).expand_as(around)
        assert listed(places.square, around, numbered, places.biases) == local, problem
        own_keys = torch.where(places.square >= 0, places.square + num_global, places.square)
        real = Counter({(key, query, row): count for (query, key, row), count in local.items() if key != ZERO})
        assert listed(own_keys, seers.tokens, seers.places, places.mirrored) == real, problem
        # kernels read a bias for whatever is hidden, and find minus infinity
        for list_, numbers in ((keys, places.biases), (seers, places.mirrored)):
            hidden = list_.places[list_.tokens == HIDDEN].long()
            assert (numbers[hidden] == (4 * size - 1) ** 2 + num_global).all(), problem


def test_pairs():
    """The gradient of a bias is the sum over the pairs that have it, shown or not."""
    for _, size, _, neighbors, _ in draw_problems(50, seed=2):
        places = make_places((3, 4), size, 'block', neighbors, 1, CPU)
        index = relative_index(chunk_offsets(neighbors), size, CPU)
        length = places.neighborhood.shape[1]
        expected = Counter((row, q * length + k) for (q, k), row in np.ndenumerate(index.numpy()))
        end = places.square.shape[1] * length
        found = Counter((row, n) for (row, _), n in np.ndenumerate(places.pairs.numpy()) if n != end)
        assert found == expected and places.pairs.max() <= end


def test_layout():
    """Filling is at the end; lists are sorted by place; visits are to the point."""
    for problem in draw_problems(100, seed=1):
        places = make_places(*problem, CPU)
        for name in ('keys', 'seers', 'visits'):
            list_ = getattr(places, name)
            within = torch.arange(list_.tokens.shape[1]) < list_.counts[:, None]
            assert torch.equal(list_.tokens != HIDDEN, within), (name, problem)
            assert list_.tokens.shape[1] % TILE == 0
            assert (list_.places.diff() > 0)[within[:, 1:]].all()
        assert places.square.shape[1] % TILE == places.neighborhood.shape[1] % TILE == 0
        visited = (places.neighborhood != HIDDEN).unflatten(1, (-1, TILE)).any(2)
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
