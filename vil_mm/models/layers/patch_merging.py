"""Halving of a map's size by joining neighbours."""

from einops import rearrange
from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from torch import Tensor, nn

from .maps import pad_to_multiple


class PatchMerging(BaseModule):
    """Joins squares of 2 x 2 pixels into one; an odd map is zero-padded below and on the right.

    Source: Swin Transformer (arXiv 2103.14030), in its order of channels, which
    is not that of mmcv's module of this name: all channels of the upper left
    pixel, then of the lower left, upper right and lower right one.

    Args:
        in_channels (int): Channels before.
        embed_dims (int): Channels after.
        norm_cfg (dict): Config of the norm of the joined channels.
        init_cfg (dict, optional): As in mmengine. Defaults to None.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_cfg: dict, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.norm = build_norm_layer(norm_cfg, 4 * in_channels)[1]
        self.reduction = nn.Linear(4 * in_channels, embed_dims, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Merge a feature map ``(N, C, H, W)`` into tokens ``(N, h * w, C')`` of a grid ``(h, w)``."""
        x = pad_to_multiple(x, 2)
        hw_shape = x.shape[2] // 2, x.shape[3] // 2
        x = rearrange(x, 'n c (h row) (w column) -> n (h w) (column row c)', row=2, column=2)
        return self.reduction(self.norm(x)), hw_shape
