"""Depthwise convolution."""

from torch import Tensor, nn

from ...arguments import OddSize, Size, check_arguments
from ...ops import depthwise_conv2d


class DepthwiseConv(nn.Conv2d):
    """Depthwise convolution that keeps the size of the map.

    Args:
        channels (int): Channels.
        kernel_size (int): Height and width of the kernels; odd.
    """

    @check_arguments
    def __init__(self, channels: Size, kernel_size: OddSize) -> None:
        super().__init__(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a feature map ``(N, C, H, W)``, keeping its shape."""
        return depthwise_conv2d(x, self.weight.squeeze(1), self.bias)
