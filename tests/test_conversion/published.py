"""Tensors of published files, for tests of what becomes of them."""

import json

import torch

from tests import goldens


def tensors(case):
    """Name the tensors of a golden case, in their shapes; each is of one value of its own, which takes no memory."""
    case = json.loads((goldens.FOLDER / f'{case}.json').read_text())
    state = {name: torch.tensor(float(i)).expand(shape) for i, (name, shape, _) in enumerate(case['state'])}
    state.update({alias: state[name] for alias, name in case.get('aliases', [])})
    state.update({name: torch.tensor(0).expand(shape) for name, shape in case.get('derived', [])})
    return state
