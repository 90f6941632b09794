"""Point-wise convolution."""

import torch.nn.functional as F
from torch import Tensor, nn


class PointwiseConv(nn.Conv2d):
    """A 1x1 convolution, as one product of matrices over all pixels of all images.

    That suits the memory format ``torch.channels_last``. PyTorch's own
    convolution of small maps on the CPU goes through the weights once per image.

    Args:
        in_channels (int): Channels before.
        out_channels (int): Channels after.
        bias (bool): Whether it has a bias. Defaults to True.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a feature map ``(N, C, H, W)`` into ``(N, C', H, W)``."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
