"""DWNet as it is written down: copies between memory formats, PyTorch's own gradients."""

from copy import deepcopy
from types import MethodType

import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.models import DWNet
from vil_mm.models.backbones.dwnet import DWNetBlock
from vil_mm.models.layers import DepthwiseConv, DynamicDepthwiseConv, InhomogeneousDepthwiseConv, PointwiseConv


def publication(model: DWNet) -> DWNet:
    """Copy a model, with its blocks written as in the publication; same parameters, same outputs."""
    model = deepcopy(model)
    forwards = {
        DWNetBlock: block,
        DepthwiseConv: nn.Conv2d.forward,
        PointwiseConv: nn.Conv2d.forward,
        DynamicDepthwiseConv: dynamic,
        InhomogeneousDepthwiseConv: inhomogeneous,
    }
    for module in model.modules():
        if type(module) in forwards:
            module.forward = MethodType(forwards[type(module)], module)
    return model


def block(self: DWNetBlock, x: Tensor) -> Tensor:
    """Convolve and norm maps in ``(N, C, H, W)``, keep tokens in ``(N, H, W, C)``, and copy between the two."""
    tokens = x.permute(0, 2, 3, 1)
    height, width = x.shape[2:]
    x = tokens
    if self.pad_size_divisor is not None:
        x = F.pad(x, (0, 0, 0, -width % self.pad_size_divisor, 0, -height % self.pad_size_divisor))
    mixed = self.mixer(x.permute(0, 3, 1, 2).contiguous())
    mixed = mixed[:, :, :height, :width].permute(0, 2, 3, 1).contiguous()
    tokens = tokens + self.drop_path(mixed)
    normed = self.bn(tokens.permute(0, 3, 1, 2).contiguous()).permute(0, 2, 3, 1).contiguous()
    return self.ffn(normed, identity=tokens).permute(0, 3, 1, 2)


def dynamic(self: DynamicDepthwiseConv, x: Tensor) -> Tensor:
    """One convolution with a group for every channel of every image."""
    kernels = self.image_kernels(F.adaptive_avg_pool2d(x, 1))[..., 0, 0]
    batch, channels, size = *x.shape[:2], kernels.shape[-1]
    x = F.conv2d(
        x.reshape(1, batch * channels, *x.shape[2:]),
        kernels.reshape(batch * channels, 1, size, size),
        self.bias.repeat(batch),
        padding=size // 2,
        groups=batch * channels,
    )
    return x.view(batch, channels, *x.shape[2:])


def inhomogeneous(self: InhomogeneousDepthwiseConv, x: Tensor) -> Tensor:
    """All neighbours of all pixels at once."""
    kernels = self.pixel_kernels(x).flatten(2, 3)
    batch, groups, neighbors, height, width = kernels.shape
    unfolded = F.unfold(x, self.pixel_kernels.shape[1], padding=self.pixel_kernels.shape[1] // 2)
    unfolded = unfolded.view(batch, groups, -1, neighbors, height, width)
    return (kernels[:, :, None] * unfolded).sum(dim=3).flatten(1, 2)
