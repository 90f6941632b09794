"""The implementations of the op."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

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
from .graphs import is_transformed
from .reference import sliding_window_attention_reference
from .strips import sliding_window_attention_strips


@dataclass(frozen=True)
class Backend:
    """One implementation.

    Args:
        run (Callable): Takes the arguments of
            :func:`vil_mm.ops.reference.sliding_window_attention_reference`.
        unavailable (str, optional): Why it cannot run here at all.
            Defaults to None.
        needs_proof (bool): Whether it serves unnamed only after it has passed
            the self-check on the device. Defaults to False.
        refuse (Callable, optional): Takes ``q`` and ``mask`` and returns why
            it cannot run on them, or None. Defaults to None.
        only_named (str, optional): Why it never serves unnamed here. Defaults
            to None.
    """

    run: Callable[..., Tensor]
    unavailable: str | None = None
    needs_proof: bool = False
    refuse: Callable[[Tensor, str], str | None] | None = None
    only_named: str | None = None

    def can_run(self, q: Tensor, mask: str = 'block') -> tuple[bool, str]:
        """Tell whether it can run on tensors like ``q`` with this mask, and if not, why."""
        reason = self.unavailable
        if self.refuse:
            reason = reason or _refuse_transforms() or self.refuse(q, mask)
        return reason is None, reason or ''


def _refuse_transforms() -> str | None:
    if is_transformed():
        return "transforms of torch.func and forward-mode derivatives need backend='pytorch' or backend='reference'"
    return None


def _refuse_mask(mask: str) -> str | None:
    if mask == 'torus':
        return (
            "mask='torus' on a grid that is not a multiple of window_size is supported only by backend='triton', "
            "backend='pytorch' and backend='reference'"
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


#: Backends by name, in order of preference.
BACKENDS = {
    'triton': Backend(
        sliding_window_attention_triton,
        triton_kernels.why_unavailable(),
        True,
        triton_kernels.refuse,
        "Triton's interpreter (TRITON_INTERPRET=1) is slow" if triton_kernels.is_interpreted() else None,
    ),
    'cuda': Backend(sliding_window_attention_compiled, _why_no_cuda(), True, _refuse_on_cuda),
    'cpu': Backend(sliding_window_attention_compiled, LOAD_ERROR, False, _refuse_on_cpu),
    'pytorch': Backend(sliding_window_attention_strips),
    'reference': Backend(sliding_window_attention_reference),
}

if LOAD_ERROR:
    logging.getLogger('vil_mm').warning('Sliding-window attention falls back to plain PyTorch: %s', LOAD_ERROR)


def check_backend(name: str | None, source: str = 'backend') -> None:
    """Check the name of a backend; None stands for the automatic choice.

    Raises:
        ValueError: If there is no such backend; the message begins with
            ``source``.
    """
    if name is not None and (not isinstance(name, str) or name not in BACKENDS):
        raise ValueError(f'{source}={name!r} is not one of {list(BACKENDS)}')
