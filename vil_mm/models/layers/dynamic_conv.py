"""Depthwise convolutions whose kernels are computed from the map that they convolve."""

from typing import Annotated

import torch
import torch.nn.functional as F
from mmengine.dist import get_world_size
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...arguments import OddSize, Size, at_least, check_arguments
from ...ops import depthwise_conv2d, inhomogeneous_conv2d
from ...registry import NormCfg
from .norms import build_map_norm
from .pointwise_conv import PointwiseConv

#: Between the convolutions that compute kernels there is a fourth of them.
Channels = Annotated[int, at_least(4)]


class KernelGenerator(BaseModule):
    """Computes kernels by two pointwise convolutions with a norm and ReLU between them.

    Args:
        channels (int): Channels of the input, at least 4. Between the
            convolutions there is a fourth of them.
        num_kernels (int): Kernels.
        kernel_size (int): Height and width of a kernel.
        norm_cfg (dict): Config of the norm.
        bias (bool): Whether the first convolution has a bias.
    """

    @check_arguments
    def __init__(
        self, channels: Channels, num_kernels: Size, kernel_size: OddSize, norm_cfg: NormCfg, bias: bool
    ) -> None:
        super().__init__()
        self.shape = num_kernels, kernel_size, kernel_size
        self.squeeze = PointwiseConv(channels, channels // 4, bias=bias)
        self.bn = build_map_norm(norm_cfg, channels // 4)
        self.expand = PointwiseConv(channels // 4, num_kernels * kernel_size**2)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the kernels of each pixel of ``(N, C, H, W)``: ``(N, num_kernels, k, k, H, W)``."""
        return self.expand(F.relu(self.bn(self.squeeze(x)))).unflatten(1, self.shape)


class DynamicDepthwiseConv(BaseModule):
    """Depthwise convolution with kernels computed from the image's mean over all pixels.

    Source: Demystifying Local Vision Transformer (arXiv 2106.04263), where
    these kernels are called homogeneous.

    Args:
        channels (int): Channels, at least 4.
        kernel_size (int): Height and width of the kernels; odd.
        norm_cfg (dict): Config of the norm between the convolutions that compute
            the kernels.
    """

    @check_arguments
    def __init__(self, channels: Channels, kernel_size: OddSize, norm_cfg: NormCfg) -> None:
        super().__init__()
        self.image_kernels = KernelGenerator(channels, channels, kernel_size, norm_cfg, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a feature map ``(N, C, H, W)``, keeping its shape.

        Raises:
            ValueError: If a batch norm would have to take its statistics from
                a single image.
        """
        norm = self.image_kernels.bn
        # A batch norm that is not the plain one is synchronized.
        alone = isinstance(norm, nn.BatchNorm2d) or get_world_size() == 1
        if isinstance(norm, _BatchNorm) and norm.training and alone and x.shape[0] == 1:
            raise ValueError(
                'dynamic kernels cannot be trained on a batch of one image: their batch norm takes its statistics over '
                "the images. Use a larger batch, norm_eval=True, or, on several GPUs, norm_cfg=dict(type='SyncBN')"
            )
        kernels = self.image_kernels(x.mean((2, 3), keepdim=True))
        return depthwise_conv2d(x, kernels[..., 0, 0], self.bias)


class InhomogeneousDepthwiseConv(BaseModule):
    """Depthwise convolution with kernels computed at each pixel and shared by groups of channels.

    Source: Demystifying Local Vision Transformer (arXiv 2106.04263).

    Args:
        channels (int): Channels, at least 4.
        kernel_size (int): Height and width of the kernels; odd.
        norm_cfg (dict): Config of the norm between the convolutions that compute
            the kernels.
        num_groups (int): Groups of channels.

    Raises:
        ValueError: If the channels cannot be divided into groups.
    """

    @check_arguments
    def __init__(self, channels: Channels, kernel_size: OddSize, norm_cfg: NormCfg, num_groups: Size) -> None:
        super().__init__()
        if channels % num_groups:
            raise ValueError(f'num_groups={num_groups} must divide channels={channels}')
        self.pixel_kernels = KernelGenerator(channels, num_groups, kernel_size, norm_cfg, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a feature map ``(N, C, H, W)``, keeping its shape."""
        return inhomogeneous_conv2d(x, self.pixel_kernels(x))
