"""Outputs and gradients of the fast backends against float64, beside plain PyTorch in the same precision."""

import random

import pytest
import torch

from tests.test_ops.cases import MODES, backend_parameters, check_rows, fixed_rows, map_sizes


@pytest.mark.parametrize(
    'backend', [*backend_parameters('cpu', 'cuda'), pytest.param('pytorch', marks=pytest.mark.slow)]
)
@pytest.mark.parametrize('mask, neighbors', MODES)
def test_fixed_rows(mask, neighbors, backend):
    rows = [row for row in fixed_rows() if (row['mask'], row['neighbors']) == (mask, neighbors)]
    assert len(rows) == 30
    check_rows(rows, backend)


@pytest.mark.parametrize('backend', backend_parameters('cpu', 'cuda', 'pytorch'))
@pytest.mark.parametrize('count', [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_random_rows(count, backend, pytestconfig, capsys):
    seed = pytestconfig.getoption('--seed')
    if seed is None:
        seed = random.SystemRandom().randrange(2**32)
    with capsys.disabled():
        print(f'\nthe random rows can be drawn again with --seed {seed}')
    draw = random.Random(seed)
    torch.manual_seed(seed)
    rows = []
    for _ in range(count):
        window_size = draw.randint(1, 10)
        mask, neighbors = draw.choice(MODES)
        size = draw.choice(map_sizes(window_size)) if draw.random() < 0.5 else [draw.randint(1, 24) for _ in range(2)]
        rows.append(
            dict(
                hw_shape=tuple(size),
                window_size=window_size,
                mask=mask,
                neighbors=neighbors,
                batch=draw.randint(1, 2),
                heads=draw.randint(1, 4),
                width=draw.randint(1, 128),
                num_global_tokens=draw.choice([0, 1, 2, 5, 17]),
                bias=draw.random() < 0.75,
                strided=draw.random() < 0.75,
                dtype=draw.choice(['float32', 'float32', 'bfloat16', 'float16']),
            )
        )
    check_rows(rows, backend)
