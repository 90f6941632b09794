"""The choice between the implementations of the op."""

import functools
import logging
import os

import torch
from torch import Tensor
from torch._subclasses import FakeTensor

from ._library import allows_tf32
from .backends import BACKENDS, Backend, check_backend
from .graphs import constant_in_graphs, needs_plain_ops
from .self_check.checking import Subject, find_or_check, find_verdict
from .self_check.problems import WIDTHS

#: Values of ``VIL_MM_GPU_KERNELS``: backends that need proof serve once they have it; never; without it; or only with a
#: proof from after the start of this process.
GPU_KERNELS = ('auto', 'off', 'force', 'recheck')


@constant_in_graphs
def backend_of_environment() -> str | None:
    """Read ``VIL_MM_BACKEND``, the backend of all calls that name none; None if it is not set.

    Raises:
        ValueError: If there is no such backend.
    """
    name = os.environ.get('VIL_MM_BACKEND') or None
    check_backend(name, 'VIL_MM_BACKEND')
    return name


def find_floor(q: Tensor, mask: str = 'block') -> str:
    """Name the fastest backend that can run and needs no proof."""
    return next(name for name, backend in BACKENDS.items() if not backend.needs_proof and backend.can_run(q, mask)[0])


def choose_backend(name: str | None, q: Tensor, mask: str) -> Backend:
    """Find the backend with that name or, without a name, the fastest one that can run and needs no proof or has it.

    Exported programs, and transforms of ``torch.func``, get the reference
    unless another backend is named.

    Raises:
        ValueError: If there is no such backend, or it cannot run on ``q``
            with this mask.
    """
    source = 'backend' if name is not None else 'VIL_MM_BACKEND'
    name = name if name is not None else backend_of_environment()
    check_backend(name)
    if name is not None:
        possible, reason = BACKENDS[name].can_run(q, mask)
        if not possible:
            raise ValueError(f'{source}={name!r} cannot run: {reason}')
        return BACKENDS[name]
    if needs_plain_ops():
        return BACKENDS['reference']
    floor = find_floor(q, mask)
    unproven = tuple(
        (name, backend.only_named or backend.can_run(q, mask)[1])
        for name, backend in BACKENDS.items()
        if backend.needs_proof
    )
    if q.device.type in ('cpu', 'meta') and all(reason for _, reason in unproven):
        return BACKENDS[floor]
    width = next((width for width in WIDTHS if q.shape[-1] <= width), WIDTHS[-1])
    in_graph = torch.compiler.is_compiling() or torch.jit.is_tracing() or isinstance(q, FakeTensor)
    return BACKENDS[choose_proven(unproven, floor, q.device.type, q.device.index, q.dtype, width, in_graph)]


@constant_in_graphs
def choose_proven(
    refusals: tuple[tuple[str, str], ...],
    floor: str,
    device_type: str,
    index: int | None,
    dtype: torch.dtype,
    width: int,
    in_graph: bool,
) -> str:
    """Find the fastest backend that has passed the self-check, and say so if there is none.

    Args:
        refusals (tuple): Backends that need proof, and why each cannot run,
            or ``''``.
        floor (str): The backend that serves if none of them does.
        device_type (str): Type of the device.
        index (int, optional): Its index.
        dtype (torch.dtype): That of the queries.
        width (int): One of ``WIDTHS``.
        in_graph (bool): Whether a graph is being built, where nothing can be
            checked.

    Returns:
        str: Its name.

    Raises:
        ValueError: If ``VIL_MM_GPU_KERNELS`` is unknown.
    """
    mode = os.environ.get('VIL_MM_GPU_KERNELS') or 'auto'
    if mode not in GPU_KERNELS:
        raise ValueError(f'VIL_MM_GPU_KERNELS={mode!r} is not one of {GPU_KERNELS}')
    reasons = dict(refusals)
    able = [name for name, reason in refusals if not reason]
    if mode == 'force' and able:
        return able[0]
    device = torch.device(device_type) if index is None else torch.device(device_type, index)
    in_graph = in_graph or (device.type == 'cuda' and torch.cuda.is_current_stream_capturing())
    costs = {}
    for name in able:
        if mode == 'off':
            reasons[name] = 'VIL_MM_GPU_KERNELS=off'
        elif not torch.get_device_module(device).is_available():
            reasons[name] = f'there is no {device}'
        else:
            subject, recheck = Subject(name, str(device), precision_of(dtype, device), width), mode == 'recheck'
            verdict = find_verdict(subject, recheck) if in_graph else find_or_check(subject, floor, recheck)
            if verdict is None:
                reasons[name] = 'not checked on this device before; the first call outside of a graph checks it'
            elif verdict.reason:
                reasons[name] = f'its check: {verdict.reason}'
            else:
                costs[name] = verdict.cost
    if costs:
        return min(costs, key=costs.__getitem__)
    why = '; '.join(f'{name!r}: {reason}' for name, reason in reasons.items())
    log_once(f'Sliding-window attention on {device.type} in {dtype} falls back to backend {floor!r}. {why}')
    return floor


def precision_of(dtype: torch.dtype, device: torch.device) -> str:
    """Name the precision of products on a device, one of ``self_check.problems.PRECISIONS``."""
    if dtype == torch.float32 and device.type == 'cuda' and allows_tf32():
        return 'tf32'
    return str(dtype).removeprefix('torch.')


@functools.cache
def log_once(message: str) -> None:
    """Log each message once."""
    logging.getLogger('vil_mm').warning(message)
