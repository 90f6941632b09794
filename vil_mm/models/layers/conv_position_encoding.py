"""Convolutional position encoding."""

from mmengine.model import BaseModule
from torch import Tensor

from ...arguments import OddSize, Size, check_arguments
from .depthwise_conv import DepthwiseConv


class ConvPositionEncoding(BaseModule):
    """Adds a depthwise convolution of a feature map to it, which tells tokens where they are.

    Source: Conditional Positional Encodings for Vision Transformers (arXiv
    2102.10882), as L2ViT and ViTAEv2*-VSA use it.

    Args:
        embed_dims (int): Channels.
        kernel_size (int): Height and width of the kernel; odd.
            Defaults to 3.
    """

    @check_arguments
    def __init__(self, embed_dims: Size, kernel_size: OddSize = 3) -> None:
        super().__init__()
        self.proj = DepthwiseConv(embed_dims, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        """Encode a feature map ``(N, C, h, w)``, keeping its shape."""
        return x + self.proj(x)
