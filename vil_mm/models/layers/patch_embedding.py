"""Patch embedding."""

from torch import Tensor, nn

from ...arguments import Rate, Size, check_arguments
from ...ops import to_tokens
from ...registry import NormCfg
from .base_embedding import BaseEmbedding
from .maps import grid_of, pad_to_multiple
from .norms import build_token_norm


class PatchEmbedding(BaseEmbedding):
    """A strided convolution of patches that do not overlap, then a norm and dropout.

    Args:
        in_channels (int): Channels of the map.
        embed_dims (int): Channels of the tokens.
        patch_size (int): Height and width of a patch, in pixels.
        norm_cfg (dict): Config of the norm.
        drop_rate (float): Dropout rate. Defaults to 0.
    """

    @check_arguments
    def __init__(
        self, in_channels: Size, embed_dims: Size, patch_size: Size, norm_cfg: NormCfg, drop_rate: Rate = 0.0
    ) -> None:
        super().__init__(embed_dims, patch_size)
        self.projection = nn.Conv2d(in_channels, embed_dims, patch_size, patch_size)
        self.norm = build_token_norm(norm_cfg, embed_dims)
        self.drop = nn.Dropout(drop_rate)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed a map, zero-padded below and on the right to whole patches; see :class:`BaseEmbedding`."""
        x = self.projection(pad_to_multiple(x, self.stride))
        return self.drop(self.norm(to_tokens(x))), grid_of(x)
