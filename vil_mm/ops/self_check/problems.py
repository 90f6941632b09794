"""The problems of the self-check."""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Head widths that a verdict holds for, up to each: no kernel pads heads to other widths in between.
WIDTHS = (16, 32, 48, 64, 96, 128)
PRECISIONS = ('float32', 'tf32', 'bfloat16', 'float16')


@dataclass(frozen=True)
class Problem:
    """Arguments of the op, see :func:`vil_mm.ops.sliding_window_attention`.

    Args:
        narrower (int): By how much heads are narrower than what they are
            padded to. Defaults to 0.
        layout (str): How queries, keys and values lie in memory: ``'qkv'``
            (slices of one product), ``'contiguous'``, or ``'misaligned'``
            (contiguous, but from an address that is no multiple of 16 bytes).
            Defaults to ``'qkv'``.
    """

    hw_shape: tuple[int, int]
    window_size: int
    num_global_tokens: int = 1
    mask: str = 'block'
    neighbors: str | int = 'all'
    bias: bool = True
    narrower: int = 0
    layout: str = 'qkv'
    batch: int = 2
    heads: int = 4

    def make(self, dtype: torch.dtype, width: int, device: torch.device) -> dict[str, Tensor]:
        """Draw the tensors, always the same, and a gradient of the output, ``grad_out``."""
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, dtype=torch.float64, generator=generator).to(device, dtype)

        grid, width = self.hw_shape[0] * self.hw_shape[1], width - self.narrower
        product = draw(self.batch, self.num_global_tokens + grid, 3, self.heads, width)
        q, k, v = product.permute(2, 0, 3, 1, 4).unbind(0)
        q = q[:, :, self.num_global_tokens :]
        if self.layout != 'qkv':
            q, k, v = (x.contiguous() for x in (q, k, v))
        tensors = dict(q=q, k=k, v=v)
        if self.bias:
            tensors['bias_table'] = draw((4 * self.window_size - 1) ** 2, self.heads)
        if self.bias and self.num_global_tokens:
            tensors['global_bias'] = draw(self.heads, self.num_global_tokens)
        return tensors | dict(grad_out=draw(self.batch, grid, self.heads, width).transpose(1, 2))


#: At least 2048 numbers each, so that errors are not a matter of luck. Few widths of heads, as each is compiled.
SMALL = (
    Problem((13, 10), 7),
    Problem((14, 14), 7, 0, 'exact', layout='contiguous'),
    Problem((16, 9), 4, 4, 'cyclic', layout='misaligned', narrower=3),
    Problem((15, 11), 4, 1, 'torus'),
    Problem((9, 8), 1, 3, layout='misaligned'),
    Problem((4, 5), 7, neighbors='self'),
    Problem((1, 18), 3, 0, 'cyclic', 'self', bias=False),
    Problem((33, 20), 16, 17, narrower=3, batch=1, heads=1),
    Problem((10, 12), 5, 70, 'exact', narrower=8, layout='contiguous'),
    *(Problem((8, 9), 2 + i % 3, 1 + i % 2, ('block', 'cyclic')[i // 2 % 2], i) for i in range(1, 9)),
)


def large(device: torch.device, width: int) -> tuple[Problem, int]:
    """Describe a problem that fills a GPU, as one image and how often it comes; on the CPU it is small."""
    if device.type == 'cpu':
        return Problem((10, 9), 3, batch=1), 2
    return Problem((56, 56), 7, batch=1), 2048 // width
