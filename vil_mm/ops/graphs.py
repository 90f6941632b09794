"""What graphs and transforms need: ops that graphs hold whole, and whether only PyTorch's own ops serve."""

from collections.abc import Callable

import torch
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

#: PyTorch 2.6 does not tell exporting from compiling.
_is_exporting: Callable[[], bool] = getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)


def constant_in_graphs(function: Callable) -> Callable:
    """Do what ``torch.compiler.assume_constant_result`` does, which loads the compiler at once, for seconds."""
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_in_graphs
def is_transformed() -> bool:
    """Tell whether ``torch.func`` transforms or derivatives are taken in forward mode, where our ops are unknown.

    Compiled functions ask when their graph is made. One made outside of
    ``forward_ad.dual_level()`` has no derivatives in forward mode, as those of
    Inductor never have.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def needs_plain_ops() -> bool:
    """Tell whether only PyTorch's own ops serve: also in exported programs, which should run without this package."""
    return _is_exporting() or is_transformed()


def is_compiled() -> bool:
    """Tell whether a compiler will run this here, so that graphs may hold our ops whole."""
    return torch.compiler.is_compiling() and not needs_plain_ops()


@constant_in_graphs
def is_dynamic() -> bool:
    """Tell whether the graph that is being made serves inputs of several sizes."""
    context = torch._guards.TracingContext.try_get()
    return context is not None and bool(context.fake_mode.shape_env.var_to_range)


def is_padding(*lengths: int) -> bool:
    """Tell whether to pad by these lengths: in a graph always, so that it serves padded and unpadded sizes."""
    return torch.compiler.is_compiling() or any(lengths)


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
