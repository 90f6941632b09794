"""Memory around tensors that must be neither read nor written."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

#: Numbers before and after each tensor.
WIDTH = 4096
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Fences(TorchDispatchMode):
    """While active, every new tensor lies between bytes of ones, also one that a kernel's own code allocates.

    These bytes are NaN in every floating-point dtype, so that results show what is read there. Memory that an op
    allocates without writing to it is filled with them too. :meth:`are_whole` tells whether any byte has changed.

    Not seen are accesses more than ``WIDTH`` numbers away from a tensor, writes of NaN whose bits are all ones, and
    reads that do not affect the results.

    Args:
        device (torch.device): Where the kernels under test run.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.keys = torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, device.type.upper()))
        self.fenced: list[tuple[Tensor, tuple]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == 'vil_mm':
            # the mode is off in here; on again, it also sees what the code of this op allocates
            with self:
                return func.redispatch(self.keys, *args, **(kwargs or {}))
        result = func(*args, **(kwargs or {}))
        is_new = isinstance(result, Tensor) and func._schema.returns[0].alias_info is None
        return self.enclose(result, blank='empty' in func.__name__) if is_new else result

    def enclose(self, x: Tensor, offset: int = 0, blank: bool = False) -> Tensor:
        """Copy a tensor into fenced memory; what lies between its rows, if anything, is fence too.

        Args:
            x (Tensor): The tensor, of any shape and strides.
            offset (int): By how many numbers it begins after an aligned
                address. Defaults to 0.
            blank (bool): Whether to leave its numbers NaN. Defaults to False.

        Returns:
            Tensor: With the shape, strides and, unless blank, numbers of ``x``.
        """
        if not x.numel():
            return x
        extent = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride()))
        place = (x.shape, x.stride(), WIDTH + offset)
        buffer = torch.full((extent + offset + 2 * WIDTH,), -1, dtype=_INTEGERS[x.element_size()], device=x.device)
        self.fenced.append((buffer, place))
        inside = buffer.view(x.dtype).as_strided(*place)
        return inside if blank else inside.copy_(x)

    def are_whole(self) -> bool:
        """Tell whether nothing was written outside of the tensors."""
        for buffer, place in self.fenced:
            rest = buffer.clone()
            rest.as_strided(*place).fill_(-1)
            if not (rest == -1).all():
                return False
        return True
