"""DWNet written straightforwardly: copies between memory formats and PyTorch's own gradients."""

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
        DepthwiseConv: nn.Conv2d.forward,
        PointwiseConv: nn.Conv2d.forward,
        DynamicDepthwiseConv: dynamic,
        InhomogeneousDepthwiseConv: inhomogeneous,
    }
    for module in model.modules():
        if type(module) in forwards:
            module.forward = MethodType(forwards[type(module)], module)
        if type(module) is DWNetBlock:
            module.mix_tokens, module._perceive = MethodType(mix_tokens, module), MethodType(perceive, module)
    return model


def mix_tokens(self: DWNetBlock, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Convolve and norm maps in ``(N, C, H, W)``, keep tokens in ``(N, H, W, C)``, and copy between the two."""
    tokens = x.unflatten(1, hw_shape)
    if self.pad_size_divisor is not None:
        rows, columns = (-size % self.pad_size_divisor for size in hw_shape)
        tokens = F.pad(tokens, (0, 0, 0, columns, 0, rows))
    mixed = self.mixer(tokens.permute(0, 3, 1, 2).contiguous())
    mixed = mixed[:, :, : hw_shape[0], : hw_shape[1]].permute(0, 2, 3, 1).contiguous()
    return x + self.drop_path(mixed.flatten(1, 2))


def perceive(self: DWNetBlock, x: Tensor) -> Tensor:
    """Norm a map in ``(N, C, L, 1)``, with copies before and after."""
    normed = self.bn(x.mT[..., None].contiguous())[..., 0].mT.contiguous()
    return self.ffn(normed, identity=x)


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
    """All neighbors of all pixels at once."""
    kernels = self.pixel_kernels(x).flatten(2, 3)
    batch, groups, neighbors, height, width = kernels.shape
    unfolded = F.unfold(x, self.pixel_kernels.shape[1], padding=self.pixel_kernels.shape[1] // 2)
    unfolded = unfolded.view(batch, groups, -1, neighbors, height, width)
    return (kernels[:, :, None] * unfolded).sum(dim=3).flatten(1, 2)
