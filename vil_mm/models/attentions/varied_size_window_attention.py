"""Attention within windows whose place and size are predicted."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from ...arguments import Size, check_arguments
from ...ops import cut_windows, fit_windows, sample_bilinear
from ...registry import MODELS
from ..layers import Linear
from .base_window_attention import BaseWindowAttention


@MODELS.register_module()
class VariedSizeWindowAttention(BaseWindowAttention):
    """Queries in each fixed window attend to another window, whose place and size are predicted for each head.

    The mean token of a window predicts, for each head, how far the window
    moves and how much its size changes. Keys and values are sampled bilinearly
    at ``window_size ** 2`` points of the predicted window, with zeros beyond
    the grid; queries stay where they are. If all predictions are zero, the
    predicted window is the fixed one. Global tokens, if any, attend to all
    tokens, and all tokens to them.

    The grid may have any size. If its sides are not multiples of
    ``window_size``, it is zero-padded, as published: the padding is included in
    the mean token, and takes part in the attention with keys and values of
    zero.

    As published, scores are multiplied by ``(in_dims / num_heads) ** -0.5``.
    Let ``size`` be the number of tokens along an axis after padding, and
    ``count`` the number of whole windows along it before padding. An offset of
    1 then moves a window by ``(size - 1) / (2 * count)`` tokens. Linear layers
    keep PyTorch's initial distribution, so that an untrained model has random
    offsets. On a grid smaller than a window, the published code divides by
    zero, because no whole window fits; here, ``count`` is 1.

    Source: VSA: Learning Varied-Size Window Attention in Vision Transformers
    (arXiv 2204.08446).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        swap_window_counts (bool): Whether horizontal offsets are divided by the
            number of windows in a column, and vertical ones by the number in a
            row, as in the published detectors. The published classifiers do the
            opposite, which is correct; on square grids, both give the same
            result. Defaults to False.
        relative_position_bias (bool): Whether to add a relative position bias,
            by the positions in the fixed window. Defaults to True, as
            published.
        **kwargs: Arguments of :class:`BaseWindowAttention`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    @check_arguments
    def __init__(
        self,
        embed_dims: Size,
        num_heads: Size,
        *,
        swap_window_counts: bool = False,
        relative_position_bias: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, relative_position_bias=relative_position_bias, **kwargs)
        self.scale = (self.in_dims / num_heads) ** -0.5
        self.swap_window_counts = swap_window_counts
        # offset x and y of each head, then scale x and y of each head
        self.predict = Linear(self.in_dims, 4 * num_heads)

    def init_weights(self) -> None:
        """Initialize linear layers as PyTorch does, whatever the model's ``init_cfg`` says."""
        super().init_weights()
        for layer in (self.qkv, self.proj, self.predict):
            layer.reset_parameters()

    def make_windows(self, grid: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Cut the queries and sample keys and values; see :meth:`BaseWindowAttention.make_windows`."""
        q, kv = self.qkv(grid).tensor_split([self.embed_dims], dim=3)
        values = rearrange(kv, 'n h w (p heads d) -> n (h w) heads (p d)', p=2, heads=self.num_heads)
        sampled = sample_bilinear(values, (grid.shape[1], grid.shape[2]), *self._sampling_points(grid))
        q = self.split_heads(cut_windows(q, self.window_size, self.padding))
        return (*q, *sampled.flatten(2, 3).chunk(2, dim=-1)), kv

    def _sampling_points(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Find the rows and the columns of the grid that each window samples, both ``(N * y * x, heads, window_size)``.

        They are computed in at least float32: in lower precision, neighboring
        points could not be told apart.

        Args:
            grid (Tensor): Grid tokens, ``(N, h, w, in_dims)``.
        """
        window, hw_shape = self.window_size, grid.shape[1:3]
        means = cut_windows(grid, window, self.padding).mean(dim=1)
        with torch.autocast(grid.device.type, enabled=False):
            predicted = self.predict(F.leaky_relu(means).to(self.predict.weight.dtype))
        predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
        offsets, scales = rearrange(predicted, 'b (what h xy) -> what xy b h 1', what=2, xy=2)
        counts, before = zip(*(fit_windows(size, window, self.padding) for size in hw_shape))
        whole_windows = [torch.sym_max(1, size // window) for size in hw_shape]
        if self.swap_window_counts:
            whole_windows.reverse()
        index = torch.arange(means.shape[0], device=grid.device)
        row = index // counts[1]  # without %, whose divisor cannot be a size in ONNX
        places = row - row // counts[0] * counts[0], index - row * counts[1]
        inside = torch.arange(window, device=grid.device, dtype=predicted.dtype)
        points = []
        for axis in (0, 1):  # rows, columns; the predictions have x first
            start = places[axis] * window - before[axis]
            offset = offsets[1 - axis] * ((counts[axis] * window - 1) / (2 * whole_windows[axis]))
            plain = start[:, None, None] + inside
            points.append(plain + scales[1 - axis] * (inside - (window - 1) / 2) + offset)
        return tuple(points)
