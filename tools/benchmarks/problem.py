"""A problem of sliding-window attention: its sizes, its tensors, and what is done with them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shape:
    """One problem: a batch of grids, sizes in tokens."""

    batch: int
    heads: int
    head_dim: int
    height: int
    width: int
    window_size: int = 7
    num_global_tokens: int = 1

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def num_keys(self) -> int:
        """Count the keys of one query: its neighborhood of 3x3 chunks and the global tokens."""
        return self.num_global_tokens + 9 * self.window_size**2

    def flops(self, direction: str) -> int:
        """Count what the matrix products need: two of them forward, five more backward; hidden keys need none."""

        def pairs(length: int) -> int:
            size = self.window_size
            return sum(
                min(size, length - i) * (min(length, i + 2 * size) - max(0, i - size)) for i in range(0, length, size)
            )

        seen = pairs(self.height) * pairs(self.width) + self.height * self.width * self.num_global_tokens
        return 2 * (2 if direction == 'forward' else 7) * self.batch * self.heads * seen * self.head_dim


class Inputs(NamedTuple):
    """Tensors as :func:`vil_mm.ops.sliding_window_attention` takes them."""

    q: Tensor
    k: Tensor
    v: Tensor
    bias_table: Tensor
    global_bias: Tensor


Attend = Callable[[Inputs], Tensor]


def make_inputs(shape: Shape, dtype: torch.dtype, device: torch.device | str) -> tuple[Inputs, Tensor]:
    """Draw random inputs, the same ones for every method.

    Returns:
        tuple[Inputs, Tensor]: The inputs, which require gradients, and a
        gradient of the output.
    """
    generator = torch.Generator(device).manual_seed(0)

    def randn(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=dtype, device=device)

    grid = (shape.batch, shape.heads, shape.height * shape.width, shape.head_dim)
    tokens = (shape.batch, shape.heads, shape.num_global_tokens + shape.height * shape.width, shape.head_dim)
    inputs = Inputs(
        q=randn(*grid),
        k=randn(*tokens),
        v=randn(*tokens),
        bias_table=randn((4 * shape.window_size - 1) ** 2, shape.heads),
        global_bias=randn(shape.heads, shape.num_global_tokens),
    )
    return Inputs(*(tensor.requires_grad_() for tensor in inputs)), randn(*grid)


def forward(attend: Attend, inputs: Inputs, grad: Tensor) -> tuple[Tensor]:
    """Attend as at inference."""
    with torch.no_grad():
        return (attend(inputs),)


def forward_and_backward(attend: Attend, inputs: Inputs, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Attend, then differentiate by all inputs; full attention uses no bias, whose gradient is None."""
    return torch.autograd.grad(attend(inputs), inputs, grad, allow_unused=True)


DIRECTIONS = {'forward': forward, 'forward and backward': forward_and_backward}
