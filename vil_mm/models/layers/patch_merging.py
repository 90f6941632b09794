"""Patch merging."""

from einops import rearrange
from torch import Tensor

from ...arguments import Size, check_arguments
from ...registry import NormCfg
from .base_embedding import BaseEmbedding
from .linear import Linear
from .maps import pad_to_multiple
from .norms import build_token_norm


class PatchMerging(BaseEmbedding):
    """Joins squares of 2 x 2 pixels into tokens by a norm and a linear layer.

    Source: Swin Transformer (arXiv 2103.14030). Its order of channels, kept
    here, differs from that of mmcv's module of this name: all channels of the
    upper left pixel, then of the lower left, upper right and lower right pixel.

    Args:
        in_channels (int): Channels of the map.
        embed_dims (int): Channels of the tokens.
        norm_cfg (dict): Config of the norm of the joined channels.
    """

    @check_arguments
    def __init__(self, in_channels: Size, embed_dims: Size, norm_cfg: NormCfg) -> None:
        super().__init__(embed_dims, stride=2)
        self.norm = build_token_norm(norm_cfg, 4 * in_channels)
        self.reduction = Linear(4 * in_channels, embed_dims, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed a map, zero-padded below and on the right to even sides; see :class:`BaseEmbedding`."""
        x = pad_to_multiple(x, 2)
        hw_shape = x.shape[2] // 2, x.shape[3] // 2
        x = rearrange(x, 'n c (h row) (w column) -> n (h w) (column row c)', row=2, column=2)
        return self.reduction(self.norm(x)), hw_shape
