"""The block of a transformer."""

from torch import Tensor, nn

from ...arguments import Size, check_arguments
from ...registry import NormCfg
from ..layers import build_token_norm
from .base_block import BaseBlock


class AttentionBlock(BaseBlock):
    """Attention, then a perceptron; each pre-norm and residual.

    Args:
        attn (BaseAttention): The attention.
        embed_dims (int): Channels.
        norm_cfg (dict): Config of the norms.
        **kwargs: Arguments of :class:`BaseBlock`.
    """

    @check_arguments
    def __init__(self, attn: nn.Module, *, embed_dims: Size, norm_cfg: NormCfg, **kwargs) -> None:
        super().__init__(embed_dims=embed_dims, norm_cfg=norm_cfg, **kwargs)
        self.norm1 = build_token_norm(norm_cfg, embed_dims)
        self.attn = attn

    def attend(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Compute the branch of the attention, subject to stochastic depth."""
        return self.drop_path(self.attn(self.norm1(x), hw_shape))

    def mix_tokens(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend; see :meth:`BaseBlock.mix_tokens`."""
        return x + self.attend(x, hw_shape)
