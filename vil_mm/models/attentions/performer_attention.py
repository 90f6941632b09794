"""Performer: softmax attention approximated by random features."""

from typing import Annotated

import torch
from torch import Tensor, nn

from ...arguments import Size, check_arguments, one_of
from ...registry import MODELS
from .base_attention import BaseAttention, merge_heads

#: Added to all features so that none vanishes, as published.
EPSILON = 1e-4


def draw_projection(num_features: int, width: int) -> Tensor:
    """Draw random directions, orthogonal within blocks and distributed in length like Gaussian vectors.

    Args:
        num_features (int): Number of directions.
        width (int): Dimension of a direction, and size of a block.

    Returns:
        Tensor: ``(num_features, width)``, float32, from PyTorch's CPU generator.
    """
    num_blocks = -(-num_features // width)
    blocks = [nn.init.orthogonal_(torch.empty(width, width)) for _ in range(num_blocks)]
    lengths = torch.randn(num_features, width).norm(dim=1, keepdim=True)
    return lengths * torch.cat(blocks)[:num_features]


@MODELS.register_module()
class PerformerAttention(BaseAttention):
    """All tokens attend to all tokens in linear time: positive orthogonal random features approximate the softmax.

    The directions are a buffer, saved with the weights; ``PerformerRedrawHook``
    redraws them in training. Features are computed at least in float32, also
    under autocast. There is no relative position bias.

    Source: Rethinking Attention with Performers (arXiv 2009.14794), as in
    Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        num_features (int): Number of random features. Defaults to 256.
        stabilizer (str): Which maximum is subtracted from the exponents of the
            keys. ``'batch'``: that of the whole batch, as published, so that an
            image's output depends slightly on the other images. ``'image'``:
            that of each head of each image. Defaults to ``'batch'``.
        **kwargs: Arguments of :class:`BaseAttention`; ``attn_drop`` must be 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    arch_feature = 'num_features'

    @check_arguments
    def __init__(
        self,
        embed_dims: Size,
        num_heads: Size,
        *,
        num_features: Size = 256,
        stabilizer: Annotated[str, one_of('batch', 'image')] = 'batch',
        **kwargs,
    ) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        if self.attn_drop:
            raise ValueError(f'attn_drop={self.attn_drop} must be 0: there are no attention weights to drop')
        self.num_features = num_features
        self.stabilizer = stabilizer
        self.register_buffer('projection_matrix', draw_projection(num_features, embed_dims // num_heads))

    def redraw(self) -> None:
        """Redraw the directions."""
        self.projection_matrix.copy_(draw_projection(*self.projection_matrix.shape))

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to all tokens; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        q, k, v = self.split_heads(self.qkv(x))
        with torch.autocast(x.device.type, enabled=False):
            dtype = torch.promote_types(q.dtype, torch.float32)
            q = self._features(q.to(dtype), dim=-1)
            k = self._features(k.to(dtype), dim=(-2, -1) if self.stabilizer == 'image' else ())
            total = q @ k.sum(dim=-2).unsqueeze(-1)
            attended = q @ (k.mT @ v.to(dtype)) / total
        return self.proj_drop(self.proj(merge_heads(attended.to(v.dtype))))

    def _features(self, x: Tensor, dim: int | tuple[int, ...]) -> Tensor:
        """Compute features ``(N, heads, L, num_features)``, after subtracting the exponents' maximum over ``dim``."""
        projection = self.projection_matrix.to(x.dtype)
        x = x * x.shape[-1] ** -0.25
        exponent = x @ projection.T
        # () means all dimensions; an empty batch has no maximum
        largest = 0.0 if dim == () and not len(x) else exponent.amax(dim, keepdim=True)
        norm = x.square().sum(dim=-1, keepdim=True) / 2
        return (torch.exp(exponent - norm - largest) + EPSILON) * len(projection) ** -0.5
