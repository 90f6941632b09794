"""Linear attention."""

import torch
from torch import Tensor, nn

from ...arguments import Positive, Size, check_arguments
from ...registry import MODELS
from .base_attention import BaseAttention, merge_heads


@MODELS.register_module()
class LinearAttention(BaseAttention):
    """All tokens attend to all tokens in linear time, with products of rectified queries and keys as weights.

    A token's weights are divided by their sum, as in a softmax, or by
    ``min_denominator`` if the sum is smaller. Sums over tokens are at least in
    float32, also under autocast.

    As published, no gradient flows through a clamped denominator, and queries
    and keys are not scaled: a learned ``temperature`` per head, initially
    ``d ** -0.5``, scales the output instead.

    Source: The Linear Attention Resurrection in Vision Transformer.

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        min_denominator (float): Lower bound of the sums of weights; positive.
            Defaults to 100.
        **kwargs: Arguments of :class:`BaseAttention`; ``attn_drop`` must be 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    @check_arguments
    def __init__(self, embed_dims: Size, num_heads: Size, *, min_denominator: Positive = 100.0, **kwargs) -> None:
        super().__init__(embed_dims, num_heads, **kwargs)
        if self.attn_drop:
            raise ValueError(f'attn_drop={self.attn_drop} must be 0: there are no attention weights to drop')
        self.min_denominator = min_denominator
        self.temperature = nn.Parameter(torch.full((num_heads, 1, 1), (embed_dims // num_heads) ** -0.5))

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend to all tokens; see :meth:`BaseAttention.forward`."""
        self.check_tokens(x, hw_shape)
        qkv = self.qkv(x)
        with torch.autocast(x.device.type, enabled=False):
            dtype = torch.promote_types(qkv.dtype, torch.float32)
            qk, v = qkv.to(dtype).split([2 * self.embed_dims, self.embed_dims], dim=-1)
            # Both are used in two products, each of which would copy a tensor that is not contiguous.
            q, k = (part.contiguous() for part in self.split_heads(qk.relu()))
            (v,) = self.split_heads(v)
            denominator = (q @ k.sum(dim=-2).unsqueeze(-1)).clamp(min=self.min_denominator)
            out = q @ (self.temperature.to(dtype) * (k.mT @ v)) / denominator
        return self.proj_drop(self.proj(merge_heads(out.to(qkv.dtype))))
