"""Attention within windows that do not overlap."""

from torch import Tensor

from ...registry import MODELS
from ..layers import cut_windows, pad_to_windows
from .base_window_attention import BaseWindowAttention


@MODELS.register_module()
class WindowAttention(BaseWindowAttention):
    """Grid tokens attend to their window and to the global tokens, global tokens to all.

    The windows are not shifted. A grid that they do not fill is zero-padded
    before the projection and not masked, as in L2ViT and ViTAEv2: the padding's
    keys and values are the projection's bias, and they take part.

    Source: Swin Transformer (arXiv 2103.14030), without the shift; the
    publications on L2ViT and ViTAEv2 (arXiv 2202.10108).

    Args:
        *args: Arguments of :class:`BaseWindowAttention`.
        **kwargs: Arguments of :class:`BaseWindowAttention`.
    """

    def make_windows(self, grid: Tensor) -> tuple[tuple[Tensor, ...], Tensor, tuple[int, int]]:
        """Cut the projection of the padded grid; see :meth:`BaseWindowAttention.make_windows`."""
        h, w = grid.shape[1:3]
        padded, (top, left) = pad_to_windows(grid, self.window_size, self.padding)
        qkv = self.qkv(padded)
        windows = cut_windows(qkv, self.window_size, self.num_heads, parts=3).unbind(0)
        return windows, qkv.narrow(1, top, h).narrow(2, left, w), (top, left)
