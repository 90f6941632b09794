"""L2ViT step by step: heads and windows are permuted and copied, softmax and gradients are plain PyTorch."""

from copy import deepcopy
from types import MethodType

import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.models import LinearAttention, WindowAttention
from vil_mm.models.layers import ConvPositionEncoding, DepthwiseConv


def linear_attention(self: LinearAttention, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Products of rectified queries and keys, and their sums, one after another."""
    batch, tokens, channels = x.shape
    q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k = F.relu(q), F.relu(k)
    denominator = (q @ k.sum(dim=-2, keepdim=True).transpose(-2, -1)).clamp(min=self.min_denominator)
    out = q @ (self.temperature * (k.transpose(-2, -1) @ v)) / denominator
    return self.proj(out.transpose(1, 2).reshape(batch, tokens, channels))


def window_attention(self: WindowAttention, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Windows are cut before the projections, and joined and cropped after them."""
    window, heads = self.window_size, self.num_heads
    batch, _, channels = x.shape
    rows, columns = (-size % window for size in hw_shape)
    x = F.pad(x.reshape(batch, *hw_shape, channels), (0, 0, 0, columns, 0, rows))
    height, width = x.shape[1:3]
    x = x.reshape(batch, height // window, window, width // window, window, channels)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, window * window, channels)
    q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
    weights = ((q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)).softmax(dim=-1)
    x = self.proj((weights @ v).transpose(1, 2).reshape(x.shape))
    x = x.reshape(batch, height // window, width // window, window, window, channels)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(batch, height, width, channels)
    return x[:, : hw_shape[0], : hw_shape[1]].reshape(batch, -1, channels)


def encode_position(self: ConvPositionEncoding, x: Tensor) -> Tensor:
    """Tokens are copied into a map with its channels first."""
    x = x.contiguous()
    return x + self.proj(x)


def publication(model: nn.Module) -> nn.Module:
    """Copy a built model, with this formulation; attentions without dropout or global tokens."""
    model = deepcopy(model)
    forwards = {
        LinearAttention: linear_attention,
        WindowAttention: window_attention,
        ConvPositionEncoding: encode_position,
        DepthwiseConv: nn.Conv2d.forward,
    }
    for module in model.modules():
        if type(module) in forwards:
            module.forward = MethodType(forwards[type(module)], module)
    return model
