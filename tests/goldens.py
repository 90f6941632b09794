"""The published models' cases: their files, and the models of this package that they are of."""

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tests.data.goldens import golden

FOLDER = Path(__file__).parent / 'data' / 'goldens'

#: Largest error relative to the largest value; the goldens are rounded to float32.
TOLERANCE = {torch.float64: 2e-7, torch.float32: 1e-4}

#: A case is drawn once for the tests in both precisions, which follow each other.
_draw = lru_cache(maxsize=1)(golden.load)

MASKS = {0: 'block', 1: 'exact', -1: 'cyclic'}


def cases(family: str, folder: str = 'vil') -> list[str]:
    """Names of the cases of a family."""
    paths = (FOLDER / folder).glob('*.json')
    return sorted(path.stem for path in paths if json.loads(path.read_text())['family'] == family)


def load(name: str, dtype: torch.dtype, folder: str = 'vil') -> tuple[dict, dict[str, Tensor], Tensor, dict]:
    """Load a case: its description, published state dict, input and expected outputs."""
    case, state, inputs, expected = _draw(FOLDER / folder / name)
    state = {key: torch.from_numpy(np.array(value)).to(dtype) for key, value in state.items()}
    for key, shape in case.get('derived', []):
        state[key] = torch.zeros(shape, dtype=torch.int64)
    return case, state, torch.from_numpy(inputs.copy()).to(dtype), expected


def check(case: dict, expected: dict, outputs: dict[str, Tensor], dtype: torch.dtype) -> None:
    """Compare outputs, by golden name, with all that the case expects."""
    assert outputs.keys() == expected.keys()
    for description in case['outputs']:
        name = description['name']
        assert list(outputs[name].shape) == description['shape']
        got = golden.sample(outputs[name].detach().double().numpy(), description['index'])
        error = np.abs(got - expected[name]).max() / np.abs(expected[name]).max()
        assert error <= TOLERANCE[dtype], f'{name}: relative error {error:.2e}'


def neighbors(mode: int, sampled_mode: int | None = None) -> str | int:
    """The package's word for a published mode."""
    if sampled_mode is not None:
        return sampled_mode
    return {0: 'all', -1: 'self'}.get(mode, 'random')


#: Per published attention type: the mechanism, whose ``f`` and ``s`` are the arch string's.
MECHANISMS = {
    'full': 'vil_mm.FullAttention',
    'linformer': 'vil_mm.LinformerAttention',
    'srformer': 'vil_mm.SpatialReductionAttention',
    'performer': 'vil_mm.PerformerAttention',
}


def attn_cfg(build: dict) -> dict:
    """The ``attn_cfg`` of ViL that a published constructor's arguments ask for, beside the arch string."""
    if build['attn_type'] not in MECHANISMS:
        return sliding_window_settings(build)
    settings = dict(share_kv=build['share_kv']) if build['attn_type'] == 'linformer' else {}
    return dict(type=MECHANISMS[build['attn_type']], **settings)


def sliding_window_settings(build: dict) -> dict:
    """Settings of the sliding window that a published constructor's arguments ask for."""
    return dict(
        mask=MASKS[build['sw_exact']],
        neighbors=neighbors(build['mode']),
        share_global_proj=build['sharew'],
        only_global=build['only_glo'],
    )
