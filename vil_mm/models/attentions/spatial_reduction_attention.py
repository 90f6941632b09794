"""Spatial-reduction attention."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...arguments import Size, check_arguments
from ...ops import linear, to_map
from ...registry import MODELS
from ..layers import skip_other_shapes
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class SpatialReductionAttention(BaseAttention):
    """All tokens attend to the global tokens and to a map reduced by a strided convolution.

    The reduced map is normalized per image and channel. As published, rows and
    columns that do not fill a patch of the convolution are dropped. A map
    smaller than a patch is zero-padded to one patch. A map that is reduced to a
    single token is normalized to zeros, for which the published code stops.
    There is no relative position bias.

    Source: Pyramid Vision Transformer (arXiv 2102.12122), as in Multi-Scale
    Vision Longformer (arXiv 2103.15358).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        reduction_ratio (int): Patch size and stride of the convolution, in
            tokens. Defaults to 2.
        **kwargs: Arguments of :class:`BaseAttention`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    arch_feature = 'reduction_ratio'

    @check_arguments
    def __init__(self, embed_dims: Size, num_heads: Size, *, reduction_ratio: Size = 2, **kwargs) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        self.reduction_ratio = reduction_ratio
        self.reduction = nn.Conv2d(self.in_dims, self.in_dims, reduction_ratio, reduction_ratio, bias=False)
        self.reduction.register_load_state_dict_pre_hook(skip_other_shapes)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to the global tokens and the reduced map; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        q_weight, kv_weight = self.qkv.weight.tensor_split([self.embed_dims])
        q_bias, kv_bias = (None, None) if self.qkv.bias is None else self.qkv.bias.tensor_split([self.embed_dims])
        (q,) = self.split_heads(linear(x, q_weight, q_bias))
        k, v = self.split_heads(linear(self._reduce(x, hw_shape), kv_weight, kv_bias))
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout_p)
        return self.proj_drop(self.proj(merge_heads(x)))

    def _reduce(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Make the tokens to attend to: ``G`` global ones, then those of the reduced map, ``(N, G + L, C)``."""
        ratio = self.reduction_ratio
        featmap = to_map(x[:, self.num_global_tokens :], hw_shape)
        featmap = F.pad(featmap, (0, max(0, ratio - hw_shape[1]), 0, max(0, ratio - hw_shape[0])))
        reduced = self.reduction(featmap).flatten(2)
        # an instance norm that takes a single token too
        reduced = F.layer_norm(reduced, reduced.shape[2:], eps=1e-5).mT
        return torch.cat([x[:, : self.num_global_tokens], reduced.to(x.dtype)], dim=1)
