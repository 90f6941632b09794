"""Pointwise convolution."""

from torch import Tensor, nn

from ...arguments import Size, check_arguments
from ...ops import linear


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution, computed as one matrix product over all pixels of all images.

    This suits the memory format ``torch.channels_last``: on the CPU, PyTorch's
    own convolution of small maps reads the weights once per image.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        bias (bool): Whether it has a bias. Defaults to True.
    """

    @check_arguments
    def __init__(self, in_channels: Size, out_channels: Size, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a feature map ``(N, C, H, W)`` into ``(N, C', H, W)``."""
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
