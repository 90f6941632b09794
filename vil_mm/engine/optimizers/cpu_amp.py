"""Mixed precision on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner import autocast
from torch import nn

from ...registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class CPUAmpOptimWrapper(OptimWrapper):
    """Train in mixed precision on the CPU, which mmengine's ``AmpOptimWrapper`` does not support.

    The forward pass runs under bfloat16 autocast. bfloat16 has the range of
    float32, so no loss scale is needed.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Run the forward pass of ``model`` in mixed precision."""
        with super().optim_context(model), autocast(device_type='cpu', dtype=torch.bfloat16):
            yield
