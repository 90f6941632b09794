"""The implementations of the op, and the choice between them."""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from . import triton_kernels
from ._library import (
    CONSTANTS,
    LOAD_ERROR,
    has_kernels,
    sliding_window_attention_compiled,
    sliding_window_attention_triton,
)
from .reference import sliding_window_attention_reference
from .strips import sliding_window_attention_strips

#: The GPU on which the CUDA kernels last passed their tests; ``null`` if they never did.
CUDA_RECORD = Path(__file__).with_name('cuda_tested.json')


@dataclass(frozen=True)
class Backend:
    """One implementation.

    Args:
        run (Callable): Takes the arguments of
            :func:`vil_mm.ops.reference.sliding_window_attention_reference`.
        unavailable (str, optional): Why it cannot run here at all.
            Defaults to None.
        off (str, optional): Why it only runs when it is named. Defaults to
            None.
        refuse (Callable, optional): Takes ``q`` and ``mask`` and returns why
            it cannot run on them, or None. Defaults to None.
    """

    run: Callable[..., Tensor]
    unavailable: str | None = None
    off: str | None = None
    refuse: Callable[[Tensor, str], str | None] | None = None

    def can_run(self, q: Tensor, mask: str = 'block') -> tuple[bool, str]:
        """Tell whether it can run on tensors like ``q`` with this mask, and if not, why."""
        reason = self.unavailable or (self.refuse(q, mask) if self.refuse else None)
        return reason is None, reason or ''


def _refuse_mask(mask: str) -> str | None:
    if mask == 'torus':
        return (
            "mask='torus' on a grid that is not a multiple of window_size is supported only by backend='pytorch' and "
            "backend='reference'"
        )
    return None


def _refuse_on_cpu(q: Tensor, mask: str) -> str | None:
    return _refuse_mask(mask) if q.device.type == 'cpu' else f'q is on {q.device}, must be on the CPU'


def _refuse_on_cuda(q: Tensor, mask: str) -> str | None:
    if q.device.type != 'cuda':
        return f'q is on {q.device}, must be on a CUDA device'
    if q.dtype == torch.float64:
        return f'q has dtype {q.dtype}, must be float32, float16 or bfloat16'
    if q.shape[-1] > CONSTANTS['max_cuda_head_width']:
        return f'q has shape {tuple(q.shape)}, its head width must be at most {CONSTANTS["max_cuda_head_width"]}'
    return _refuse_mask(mask)


def _why_no_cuda() -> str | None:
    if LOAD_ERROR or has_kernels('CUDA'):
        return LOAD_ERROR
    return 'the extension was built without CUDA code: rebuild it with nvcc installed, or with VIL_MM_BUILD_CUDA=1'


def _why_cuda_is_off() -> str | None:
    if json.loads(CUDA_RECORD.read_text()) is not None:
        return None
    return "its kernels have not passed their tests on a GPU yet; backend='cuda' runs them anyway"


#: Backends by name, the fastest first.
BACKENDS = {
    'triton': Backend(
        sliding_window_attention_triton,
        triton_kernels.why_unavailable(),
        "has not passed its self-check on this GPU; backend='triton' runs it anyway",
        triton_kernels.refuse,
    ),
    'cuda': Backend(sliding_window_attention_compiled, _why_no_cuda(), _why_cuda_is_off(), _refuse_on_cuda),
    'cpu': Backend(sliding_window_attention_compiled, LOAD_ERROR, None, _refuse_on_cpu),
    'pytorch': Backend(sliding_window_attention_strips),
    'reference': Backend(sliding_window_attention_reference),
}

if LOAD_ERROR:
    logging.getLogger('vil_mm').warning('Sliding-window attention falls back to plain PyTorch: %s', LOAD_ERROR)


def choose_backend(name: str | None, q: Tensor, mask: str) -> Backend:
    """Find the backend with that name or, without a name, the fastest one that is on and can run.

    Raises:
        ValueError: If there is no such backend, or it cannot run on ``q``
            with this mask.
    """
    if name is None:
        return next(backend for backend in BACKENDS.values() if backend.off is None and backend.can_run(q, mask)[0])
    if name not in BACKENDS:
        raise ValueError(f'backend={name!r} is not one of {list(BACKENDS)}')
    possible, reason = BACKENDS[name].can_run(q, mask)
    if not possible:
        raise ValueError(f'backend={name!r} cannot run: {reason}')
    return BACKENDS[name]
