"""The states of the random generators of a process."""

import random

import numpy as np
import torch


def random_states() -> dict:
    """Read the states of Python's, NumPy's and PyTorch's generators, and of the current GPU's if there is one."""
    states = dict(python=random.getstate(), numpy=np.random.get_state(), torch=torch.get_rng_state())
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: dict) -> None:
    """Set the states that :func:`random_states` read.

    Args:
        states (dict): The states; without one of the GPU, that is left as it
            is.
    """
    random.setstate(states['python'])
    np.random.set_state(states['numpy'])
    # PyTorch takes them only from the memory of the CPU
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())
