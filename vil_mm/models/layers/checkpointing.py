"""Recomputing in the backward pass, where there are batch norms."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


def checkpoint_with_statistics(function: Callable[..., Tensor], module: nn.Module, *args) -> Tensor:
    """Call a function now, and again in the backward pass instead of keeping what it computes.

    The second call does not update running statistics of batch norms, which
    would count the batch twice.

    Args:
        function (Callable): What is called with ``args``.
        module (nn.Module): Holds the batch norms that the function uses.
        *args: What it takes.
    """
    return checkpoint(function, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _untracked(module)))


@contextmanager
def _untracked(module: nn.Module) -> Iterator[None]:
    """Let batch norms normalize as they do, without changing their statistics."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
