"""What graphs need: ops that they hold whole, and whether one is being exported."""

from collections.abc import Callable

import torch
from torch.utils.flop_counter import register_flop_formula

#: Whether a program is being exported. It should hold PyTorch's own ops, so that it runs without this package.
#: PyTorch 2.6 does not tell exporting from compiling.
is_exporting: Callable[[], bool] = getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)


def register_op(name: str, run: Callable, fake: Callable, flops: Callable | None = None) -> None:
    """Make an op, not by ``torch.library.custom_op``, whose first call would load the compiler and so take seconds.

    Args:
        name (str): Its name, ``'vil_mm::...'``.
        run (Callable): Computes it. The types of its arguments give the schema.
        fake (Callable): Makes outputs of the same shape and strides.
        flops (Callable, optional): Counts the FLOPs, as ``torch.utils.flop_counter`` wants it. Defaults to None.
    """
    schema = torch.library.infer_schema(run, mutates_args=())
    torch.library.define(name, schema, tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(name, 'default', run)
    torch.library.register_fake(name, fake)
    if flops is not None:
        register_flop_formula(getattr(torch.ops.vil_mm, name.split('::')[1]))(flops)
