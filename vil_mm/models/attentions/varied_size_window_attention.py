"""Attention within windows whose place and size are predicted."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import RelativePositionBias, attend_in_windows, pad_to_windows
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class VariedSizeWindowAttention(BaseAttention):
    """Queries of a window attend to a window of their own place and size, predicted for each head.

    A window's mean token predicts, per head, an offset and a change of scale of
    the window. Keys and values are sampled there on ``window_size ** 2`` points,
    bilinearly, zeros beyond the grid; queries stay where they are. So a
    prediction of zeros is the plain window. Global tokens, if any, attend to
    all tokens, and all to them.

    The grid may have any size. Where it is no multiple of the window it is
    zero-padded: the padding counts in the mean token, and its keys and values
    are zeros that take part, as published.

    As published, products are scaled by the width of the input per head, an
    offset of 1 is half of the padded grid divided by the number of whole
    windows, and weights keep PyTorch's initial distribution: an untrained model
    has random offsets. On a grid smaller than a window that number of windows
    is 0 and the published code divides by it; here it counts as 1.

    Source: VSA: Learning Varied-Size Window Attention in Vision Transformers
    (arXiv 2204.08446).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        window_size (int): Height and width of a window, in tokens. Defaults to 7.
        padding (str): Where the grid is padded: ``'end'``, below and on the
            right, as in the published classifiers; or ``'both'``, evenly, an
            odd rest at the end, as in the published detectors. Defaults to
            ``'end'``.
        swap_window_counts (bool): Whether horizontal offsets are divided by the
            windows in a column and vertical ones by those in a row, as in the
            published detectors. The other way round is right, and what the
            published classifiers do; on square grids both are the same.
            Defaults to False.
        relative_position_bias (bool): Whether to add a bias by the relative
            position in the unmoved window. Defaults to True, as published.
        **kwargs: Of :class:`BaseAttention`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        window_size: int = 7,
        padding: str = 'end',
        swap_window_counts: bool = False,
        relative_position_bias: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        if window_size < 1:
            raise ValueError(f'window_size={window_size} must be at least 1')
        if padding not in ('end', 'both'):
            raise ValueError(f"padding={padding!r} is not one of 'end', 'both'")
        self.window_size = window_size
        self.padding = padding
        self.swap_window_counts = swap_window_counts
        # of each head: offset x, offset y; then of each head: scale x, scale y
        self.predict = nn.Linear(self.in_dims, 4 * num_heads)
        self.relative_position_bias = None
        if relative_position_bias:
            table_shape = (2 * window_size - 1, 2 * window_size - 1)
            self.relative_position_bias = RelativePositionBias(table_shape, num_heads, self.num_global_tokens)

    def init_weights(self) -> None:
        """Linear layers as PyTorch initializes them, whatever the model says of its others."""
        super().init_weights()
        for layer in (self.qkv, self.proj, self.predict):
            layer.reset_parameters()

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend within the predicted windows; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        num_global, window = self.num_global_tokens, self.window_size
        q, kv = self.qkv(x).tensor_split([self.embed_dims], dim=2)
        rows, columns = self._sampling_points(x[:, num_global:].unflatten(1, hw_shape))
        sampled = sample_bilinear(
            rearrange(kv[:, num_global:], 'n l (p h d) -> n l h (p d)', p=2, h=self.num_heads), hw_shape, rows, columns
        )
        k, v = rearrange(sampled, 'n y x h i j (p d) -> p (n y x) h (i j) d', p=2).unbind(0)
        windows, (top, left) = pad_to_windows(q[:, num_global:].unflatten(1, hw_shape), window, self.padding)
        windows = rearrange(windows, 'n (y i) (x j) (h d) -> (n y x) h (i j) d', i=window, j=window, h=self.num_heads)
        settings = dict(
            dropout_p=self.attn_drop if self.training else 0.0, scale=(self.in_dims / self.num_heads) ** -0.5
        )

        bias = None
        if self.relative_position_bias is not None:
            bias = self.relative_position_bias.of_all_queries((window, window))[None, :, num_global:].to(q.dtype)
        if num_global:
            global_k, global_v = self.split_heads(kv[:, :num_global])
            k, v = (
                torch.cat([repeat(of_global, 'n h g d -> (n w) h g d', w=rows.shape[1] * rows.shape[2]), of_window], 2)
                for of_global, of_window in ((global_k, k), (global_v, v))
            )
        out = attend_in_windows(windows, k, v, bias, **settings)
        out = rearrange(out, '(n y x) h (i j) d -> n (y i) (x j) (h d)', y=rows.shape[1], x=rows.shape[2], i=window)[
            :, top : top + hw_shape[0], left : left + hw_shape[1]
        ].flatten(1, 2)
        if num_global:
            (global_q,) = self.split_heads(q[:, :num_global])
            if bias is not None:
                bias = self.relative_position_bias.of_global_queries(out.shape[1])[None].to(q.dtype)
            global_out = F.scaled_dot_product_attention(global_q, *self.split_heads(kv), bias, **settings)
            out = torch.cat([merge_heads(global_out), out], dim=1)
        return self.proj_drop(self.proj(out))

    def _sampling_points(self, grid: Tensor) -> tuple[Tensor, Tensor]:
        """Where the windows sample: float rows and columns of the grid, each ``(N, y, x, heads, window_size)``.

        A window of ``y x x`` samples where its rows and columns cross. Rows and
        columns are computed in float32 at least: in less, neighbours could not
        be told apart.

        Args:
            grid (Tensor): The attention's input, ``(N, h, w, in_dims)``.
        """
        window, hw_shape = self.window_size, grid.shape[1:3]
        padded, before = pad_to_windows(grid, window, self.padding)
        means = F.avg_pool2d(padded.permute(0, 3, 1, 2), window).permute(0, 2, 3, 1)
        with torch.autocast(grid.device.type, enabled=False):
            predicted = self.predict(F.leaky_relu(means).to(self.predict.weight.dtype))
        predicted = predicted.to(torch.promote_types(predicted.dtype, torch.float32))
        offsets, scales = rearrange(predicted, 'n y x (what h xy) -> what xy n y x h 1', what=2, xy=2)
        counts = [max(1, size // window) for size in hw_shape]
        if self.swap_window_counts:
            counts.reverse()
        inside = torch.arange(window, device=grid.device, dtype=predicted.dtype) - (window - 1) / 2
        points = []
        for axis in (0, 1):  # rows, columns; the predictions have x first
            size = padded.shape[1 + axis]
            plain = torch.arange(size, device=grid.device, dtype=predicted.dtype).unflatten(0, (-1, 1, 1, window))
            plain = plain.transpose(0, axis) - before[axis]
            offset = offsets[1 - axis] * ((size - 1) / (2 * counts[axis]))
            points.append(plain + scales[1 - axis] * inside + offset)
        return tuple(points)


def sample_bilinear(values: Tensor, hw_shape: tuple[int, int], rows: Tensor, columns: Tensor) -> Tensor:
    """Sample a grid bilinearly where rows and columns cross, with zeros beyond it.

    As ``grid_sample`` on maps of ``(N * heads, C, h, w)`` does, but on tokens as they lie,
    and with coordinates in a precision of their own.

    Args:
        values (Tensor): ``(N, h * w, heads, C)``.
        hw_shape (tuple[int, int]): ``h`` and ``w``.
        rows (Tensor): In tokens, 0 to ``h - 1`` on the grid, ``(N, y, x, heads, i)``.
        columns (Tensor): ``(N, y, x, heads, j)``.

    Returns:
        Tensor: ``(N, y, x, heads, i, j, C)``.
    """
    batch, length, heads, channels = values.shape
    row, row_weight = _neighbors(rows, hw_shape[0])
    column, column_weight = _neighbors(columns, hw_shape[1])
    first = torch.arange(batch, device=values.device)[:, None] * length * heads
    first = first + torch.arange(heads, device=values.device)
    row = row * (hw_shape[1] * heads) + first[:, None, None, :, None, None]
    # a point is a sum of four neighbours: a bag of the rows of an embedding
    index = row[..., :, None, :, None] + (column * heads)[..., None, :, None, :]
    weight = row_weight[..., :, None, :, None] * column_weight[..., None, :, None, :]
    sampled = F.embedding_bag(
        index.flatten(-2).view(-1, 4),
        values.reshape(-1, channels),
        per_sample_weights=weight.flatten(-2).view(-1, 4).to(values.dtype),
        mode='sum',
    )
    return sampled.view(*index.shape[:-2], channels)


def _neighbors(points: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The two places around each point, and their weights, zero beyond the grid: each ``(..., 2)``."""
    points = points.clamp(-1, size)
    below = points.detach().floor()
    above_weight = points - below
    places = torch.stack([below, below + 1], dim=-1)
    weights = torch.stack([1 - above_weight, above_weight], dim=-1)
    weights = weights.masked_fill((places < 0) | (places >= size), 0)
    return places.long().clamp(0, size - 1), weights
