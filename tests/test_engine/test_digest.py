"""The digest of tensors is that of their values, however these lie in memory."""

import torch

from vil_mm.engine.digest import digest


def test_places_in_memory_do_not_count():
    x = torch.randn(4, 6, dtype=torch.float64)
    for one, other in (
        (x.T, x.T.clone(memory_format=torch.contiguous_format)),
        (x[1:3], x[1:3].clone()),
        (torch.tensor(5.0).expand(1), torch.tensor([5.0])),  # an axis of length 1 and stride 0
        (torch.tensor(5.0).expand(3, 2), torch.full((3, 2), 5.0)),
    ):
        assert one.shape == other.shape and digest({'a': one}) == digest({'a': other})


def test_names_types_shapes_and_values_count():
    x = torch.tensor([1.0, 2.0])
    others = [{'b': x}, {'a': x.double()}, {'a': x[None]}, {'a': x.flip(0)}, {'a': x, 'b': torch.zeros(0)}]
    assert len({digest(state) for state in ({'a': x}, *others)}) == 1 + len(others)
