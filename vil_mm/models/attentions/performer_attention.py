"""Performer's attention: the softmax by random features."""

import torch
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import skip_other_shapes
from .base_attention import BaseAttention, merge_heads

# Added to all features, so that none vanishes; of the publication.
EPSILON = 1e-4


def draw_projection(num_features: int, width: int) -> Tensor:
    """Draw random directions: orthogonal within blocks, as long as Gaussian vectors.

    Args:
        num_features (int): Directions.
        width (int): Their dimension, and the size of a block.

    Returns:
        Tensor: ``(num_features, width)``, float32, from PyTorch's CPU generator.
    """
    num_blocks = -(-num_features // width)
    blocks = [nn.init.orthogonal_(torch.empty(width, width)) for _ in range(num_blocks)]
    lengths = torch.randn(num_features, width).norm(dim=1, keepdim=True)
    return lengths * torch.cat(blocks)[:num_features]


@MODELS.register_module()
class PerformerAttention(BaseAttention):
    """All tokens attend to all, in linear time: positive orthogonal random features stand for the softmax.

    The directions are a buffer, saved with the weights. ``PerformerRedrawHook``
    draws them anew in training. There is no relative position bias. Features
    are computed in float32 at least, also under autocast.

    Source: Rethinking Attention with Performers (arXiv 2009.14794), as in
    Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        num_features (int): Random features. Defaults to 256.
        stabilizer (str): Over what the keys' exponents are bounded by their
            maximum. ``'batch'``: over the whole batch, as published, so that
            an image's output depends, through the features' epsilon, on the
            images beside it. ``'image'``: over each head of each image.
            Defaults to ``'batch'``.
        **kwargs: Of :class:`BaseAttention`; ``attn_drop`` must be 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, *, num_features: int = 256, stabilizer: str = 'batch', **kwargs
    ) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        if num_features < 1:
            raise ValueError(f'num_features={num_features} must be at least 1')
        if stabilizer not in ('batch', 'image'):
            raise ValueError(f"stabilizer={stabilizer!r} is not one of 'batch', 'image'")
        if self.attn_drop:
            raise ValueError(f'attn_drop={self.attn_drop} must be 0: there are no attention weights to drop')
        self.stabilizer = stabilizer
        self.register_buffer('projection_matrix', draw_projection(num_features, embed_dims // num_heads))

    def redraw(self) -> None:
        """Draw the directions anew."""
        self.projection_matrix.copy_(draw_projection(*self.projection_matrix.shape))

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to all tokens; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        q, k, v = self.split_heads(self.qkv(x))
        with torch.autocast(x.device.type, enabled=False):
            dtype = torch.promote_types(q.dtype, torch.float32)
            q = self._features(q.to(dtype), dim=-1)
            k = self._features(k.to(dtype), dim=(-2, -1) if self.stabilizer == 'image' else None)
            total = q @ k.sum(dim=-2).unsqueeze(-1)
            attended = q @ (k.mT @ v.to(dtype)) / total
        return self.proj_drop(self.proj(merge_heads(attended.to(v.dtype))))

    def _features(self, x: Tensor, dim: int | tuple[int, int] | None) -> Tensor:
        """Features ``(N, heads, L, num_features)`` of queries or keys, their exponents bounded over ``dim``."""
        projection = self.projection_matrix.to(x.dtype)
        x = x * x.shape[-1] ** -0.25
        exponent = x @ projection.T
        largest = exponent.amax() if dim is None else exponent.amax(dim, keepdim=True)
        norm = x.square().sum(dim=-1, keepdim=True) / 2
        return (torch.exp(exponent - norm - largest) + EPSILON) * len(projection) ** -0.5

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        skip_other_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
