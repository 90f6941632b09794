"""ViTAEv2*-VSA as its publication computes it, for comparison.

Maps have their channels first, tokens are permuted and copied for each convolution. Keys and values are padded and
sampled one after the other, the softmax is explicit, and offsets and scales are predicted apart.
"""

from copy import deepcopy
from types import MethodType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vil_mm.models.attentions import VariedSizeWindowAttention
from vil_mm.models.backbones.vitae_v2 import NormalCell, ReductionCell


def publication(model: nn.Module) -> nn.Module:
    """Copy a ViTAEv2 with varied-size windows, and have the copy compute as the publication does."""
    forwards = {
        VariedSizeWindowAttention: ('forward', attend),
        NormalCell: ('mix_tokens', mix_tokens),
        ReductionCell: ('forward', reduce),
    }
    copied = deepcopy(model)
    for module in copied.modules():
        if type(module) in forwards:
            name, function = forwards[type(module)]
            setattr(module, name, MethodType(function, module))
    return copied


def to_map(tokens: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    return tokens.unflatten(1, hw_shape).permute(0, 3, 1, 2).contiguous()


def to_tokens(featmap: Tensor) -> Tensor:
    return featmap.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def encode_position(self: NormalCell | ReductionCell, featmap: Tensor) -> Tensor:
    conv = self.position_encoding.proj
    return featmap + F.conv2d(featmap, conv.weight, conv.bias, padding=conv.padding, groups=conv.groups)


def mix_tokens(self: NormalCell, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    context = to_tokens(encode_position(self, to_map(x, hw_shape)))
    parallel = self.drop_path(to_tokens(self.convs(to_map(x, hw_shape))))
    x = x + self.drop_path(self.attn(self.norm1(context), hw_shape))
    return x + parallel


def reduce(self: ReductionCell, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    x = x.contiguous()
    context = torch.cat([F.gelu(conv(x)) for conv in self.pyramid.convs], dim=1)
    context = encode_position(self, context)
    hw_shape = tuple(context.shape[2:])
    tokens = self.attn(self.norm1(to_tokens(context)), hw_shape) + to_tokens(self.convs(x))
    return self.ffn(self.norm2(tokens), identity=tokens), hw_shape


def attend(self: VariedSizeWindowAttention, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    x = to_map(x, hw_shape)
    batch, _, height, width = x.shape
    window, heads, head_dims = self.window_size, self.num_heads, self.embed_dims // self.num_heads
    bottom, right = -height % window, -width % window
    rows, columns = (height + bottom) // window, (width + right) // window

    # where to sample, in the coordinates of grid_sample
    padded = F.pad(x, (0, right, 0, bottom))
    (offset_weight, scale_weight), (offset_bias, scale_bias) = (p.chunk(2) for p in self.predict.parameters())
    offsets = F.conv2d(F.leaky_relu(F.avg_pool2d(padded, window)), offset_weight[..., None, None], offset_bias)
    scales = F.conv2d(F.leaky_relu(F.avg_pool2d(padded, window)), scale_weight[..., None, None], scale_bias)
    offsets = offsets.reshape(batch * heads, 2, rows, columns)
    offsets = torch.stack([offsets[:, 0] / max(1, width // window), offsets[:, 1] / max(1, height // window)], dim=1)[
        :, :, :, None, :, None
    ]
    scales = scales.reshape(batch * heads, 2, rows, 1, columns, 1)
    base, inside = self.coordinates if hasattr(self, 'coordinates') else coordinates(self, rows, columns, x)
    base = base.repeat(batch * heads, 1, 1, 1, 1, 1)
    inside = inside.repeat(batch * heads, 1, rows, 1, columns, 1)
    grid = base + inside * scales + offsets
    grid = grid.permute(0, 2, 3, 4, 5, 1).reshape(batch * heads, rows * window, columns * window, 2)

    qkv = F.conv2d(x, self.qkv.weight[..., None, None], self.qkv.bias)
    qkv = F.pad(qkv, (0, right, 0, bottom))
    qkv = qkv.reshape(batch, 3, heads, head_dims, rows * window, columns * window).transpose(0, 1)
    q, k, v = (part.reshape(batch * heads, head_dims, rows * window, columns * window) for part in qkv)
    k = F.grid_sample(k, grid, mode='bilinear', padding_mode='zeros', align_corners=True)
    v = F.grid_sample(v, grid, mode='bilinear', padding_mode='zeros', align_corners=True)

    def windows(part: Tensor) -> Tensor:
        part = part.reshape(batch, heads, head_dims, rows, window, columns, window)
        return part.permute(0, 3, 5, 1, 4, 6, 2).reshape(batch * rows * columns, heads, window**2, head_dims)

    scores = windows(q) @ windows(k).transpose(-2, -1) * (self.in_dims / heads) ** -0.5
    scores = scores + self.relative_position_bias.for_local((window, window), scores.dtype)
    out = scores.softmax(dim=-1) @ windows(v)
    out = out.reshape(batch, rows, columns, heads, window, window, head_dims).permute(0, 3, 6, 1, 4, 2, 5)
    out = out.reshape(batch, self.embed_dims, rows * window, columns * window)[:, :, :height, :width]
    return to_tokens(F.conv2d(out, self.proj.weight[..., None, None], self.proj.bias))


def coordinates(self: VariedSizeWindowAttention, rows: int, columns: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Fixed coordinates: of all pixels, and of a window's pixels from its center; the model is for one size."""
    window = self.window_size
    sizes = columns * window, rows * window
    x, y = (torch.linspace(-1, 1, size, dtype=like.dtype) for size in sizes)
    base = torch.stack([x[None, :].expand(sizes[1], -1), y[:, None].expand(-1, sizes[0])])
    centered = torch.arange(window, dtype=like.dtype) - (window - 1) / 2
    x, y = (centered * 2 / max(1, size - 1) for size in sizes)
    inside = torch.stack([x[None, :].expand(window, -1), y[:, None].expand(-1, window)])
    self.coordinates = (
        base.reshape(1, 2, rows, window, columns, window),
        inside.reshape(1, 2, 1, window, 1, window),
    )
    return self.coordinates
