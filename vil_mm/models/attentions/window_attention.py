"""Attention within windows that do not overlap."""

from torch import Tensor

from ...ops import cut_windows, join_windows
from ...registry import MODELS
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

    def make_windows(self, grid: Tensor) -> tuple[tuple[Tensor, ...], Tensor | None]:
        """Project windows of the padded grid; see :meth:`BaseWindowAttention.make_windows`."""
        qkv = self.qkv(cut_windows(grid, self.window_size, self.padding))
        kv = None
        if self.num_global_tokens:
            kv = join_windows(qkv[..., self.embed_dims :], (grid.shape[1], grid.shape[2]), self.padding)
        return self.split_heads(qkv), kv
