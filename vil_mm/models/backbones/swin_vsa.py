"""Swin Transformer with varied-size windows."""

from torch import Tensor, nn

from ...arguments import Rate, Size, check_arguments
from ...ops import to_map, to_tokens
from ...registry import MODELS, NormCfg
from ..base import (
    AttentionBlock,
    AttentionFactory,
    AttnCfg,
    BaseBackbone,
    Recomputed,
    Stage,
    arch_settings,
    drop_path_rates,
    grid_sizes,
)
from ..base.arch import SWIN_SIZES
from ..layers import ConvPositionEncoding, PatchEmbedding, PatchMerging

PATCH_SIZE = 4
POSITION_KERNEL_SIZE = 7
ATTENTION = 'vil_mm.VariedSizeWindowAttention'


class SwinVSABlock(AttentionBlock):
    """An attention block with a convolutional position encoding.

    As in ViTAEv2*-VSA, only the attention's input has the position encoding;
    the residual takes the tokens before it.

    Args:
        attn (BaseAttention): The attention.
        embed_dims (int): Channels.
        **kwargs: Arguments of :class:`AttentionBlock`.
    """

    def __init__(self, attn: nn.Module, *, embed_dims: int, **kwargs) -> None:
        super().__init__(attn, embed_dims=embed_dims, **kwargs)
        self.position_encoding = ConvPositionEncoding(embed_dims, POSITION_KERNEL_SIZE)

    def mix_tokens(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend; see :meth:`BaseBlock.mix_tokens`."""
        context = to_tokens(self.position_encoding(to_map(x, hw_shape)))
        return x + self.attend(context, hw_shape)


@MODELS.register_module()
class SwinVSA(BaseBackbone):
    """Swin Transformer with varied-size windows in place of shifted ones.

    The publication reports such models but never released them. This one
    combines Swin Transformer's stages with the attention of the released
    ViTAEv2*-VSA and with the convolutional position encoding before it. Images
    may have any size: maps are zero-padded below and on the right to whole
    patches, and to even sides before they are merged.

    Source: VSA: Learning Varied-Size Window Attention in Vision Transformers
    (arXiv 2204.08446); Swin Transformer (arXiv 2103.14030).

    Args:
        arch (str | dict): A name in ``SwinVSA.arch_zoo``, or a dict with one
            value per stage under the keys ``embed_dims``, ``depths`` and
            ``num_heads``. Defaults to ``'tiny'``.
        window_size (int): Height and width of a window, in tokens, of
            attentions that have one. Defaults to 7.
        img_size, in_channels, attn_cfg, drop_rate, with_cp: See
            :class:`BaseBackbone`.
        drop_path_rate (float): See :class:`BaseBackbone`. Defaults to 0.1.
        norm_cfg (dict): Config of all norms. Defaults to layer norm with
            ``eps=1e-5``.
        **kwargs: Arguments of :class:`BaseBackbone`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from vil_mm.models import SwinVSA
        >>> model = SwinVSA('tiny', out_indices=(2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 150, 218))]
        [(1, 384, 10, 14), (1, 768, 5, 7)]
    """

    arch_zoo = {
        'nano': dict(embed_dims=[32, 64, 128, 256], depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]),
        **SWIN_SIZES,
    }
    entries = ('stages.0.embed.projection.weight', 'stages.0.blocks.0.position_encoding.proj.weight')
    published_entry = 'layers.0.blocks.0.attn.'
    converter = 'tools/model_converters/swin2mm.py'

    @check_arguments
    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        window_size: Size = 7,
        img_size: Size | tuple[Size, Size] = 224,
        in_channels: Size = 3,
        attn_cfg: AttnCfg = None,
        drop_rate: Rate = 0.0,
        drop_path_rate: Rate = 0.1,
        with_cp: Recomputed = False,
        norm_cfg: NormCfg = dict(type='LN', eps=1e-5),
        **kwargs,
    ) -> None:
        settings = arch_settings(arch, self.arch_zoo)
        num_stages = len(settings['depths'])
        attns = AttentionFactory(
            [dict(type=ATTENTION)] * num_stages,
            attn_cfg,
            ATTENTION,
            grid_sizes(img_size, [PATCH_SIZE] + [2] * (num_stages - 1)),
            window_size=window_size,
            proj_drop=drop_rate,
        )
        block_cfg: dict = dict(norm_cfg=norm_cfg, drop_rate=drop_rate, with_cp=with_cp)
        stages: list[Stage] = []
        for i, rates in enumerate(drop_path_rates(drop_path_rate, settings['depths'])):
            embed_dims, num_heads = settings['embed_dims'][i], settings['num_heads'][i]
            if stages:
                embed = PatchMerging(in_channels, embed_dims, norm_cfg)
            else:
                embed = PatchEmbedding(in_channels, embed_dims, PATCH_SIZE, norm_cfg, drop_rate)
            blocks = []
            for rate in rates:
                attn = attns.build(i, embed_dims=embed_dims, num_heads=num_heads)
                blocks.append(SwinVSABlock(attn, embed_dims=embed_dims, drop_path_rate=rate, **block_cfg))
            stages.append(Stage(embed, blocks))
            in_channels = embed_dims
        super().__init__(stages, norm_cfg=norm_cfg, **kwargs)
