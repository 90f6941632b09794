"""L2ViT."""

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ...arguments import Rate, Size, check_arguments
from ...ops import to_map, to_tokens
from ...registry import MODELS, InitCfg, NormCfg
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
from ..layers import (
    BaseEmbedding,
    ConvPositionEncoding,
    DepthwiseConv,
    build_token_norm,
    grid_of,
    pad_to_multiple,
    to_channels_last,
)

#: Strides of the first stage's embedding, and of the later ones.
STEM_STRIDE, STRIDE = 4, 2
LOCAL_ATTENTION = 'vil_mm.WindowAttention'
GLOBAL_ATTENTION = 'vil_mm.LinearAttention'


def on_map(module: nn.Module, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Apply a module of feature maps to tokens."""
    return to_tokens(module(to_map(x, hw_shape)))


class L2ViTStem(BaseEmbedding):
    """Two convolutions of stride 2 with batch norms, then a norm.

    Args:
        in_channels (int): Channels of the images.
        embed_dims (int): Channels of the tokens.
        norm_cfg (dict): Config of the last norm. As published, the others are
            batch norms whatever it says.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_cfg: dict) -> None:
        super().__init__(embed_dims, STEM_STRIDE)
        self.convs = nn.Sequential(
            nn.Conv2d(in_channels, embed_dims // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(embed_dims // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(embed_dims // 2, embed_dims, 3, stride=2, padding=1),
            nn.BatchNorm2d(embed_dims),
        )
        self.norm = build_token_norm(norm_cfg, embed_dims)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed images, zero-padded below and on the right to multiples of 4; see :class:`BaseEmbedding`."""
        x = self.convs(to_channels_last(pad_to_multiple(x, self.stride)))
        return self.norm(to_tokens(x)), grid_of(x)


class L2ViTDownsample(BaseEmbedding):
    """A norm, then a convolution that halves the map.

    Args:
        in_dims (int): Channels of the map.
        embed_dims (int): Channels of the tokens.
        norm_cfg (dict): Config of the norm.
    """

    def __init__(self, in_dims: int, embed_dims: int, norm_cfg: dict) -> None:
        super().__init__(embed_dims, STRIDE)
        self.norm = build_token_norm(norm_cfg, in_dims)
        self.projection = nn.Conv2d(in_dims, embed_dims, 2, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed a map, zero-padded below and on the right after the norm; see :class:`BaseEmbedding`."""
        x = to_map(self.norm(to_tokens(x)), grid_of(x))
        x = self.projection(pad_to_multiple(x, self.stride))
        return to_tokens(x), grid_of(x)


class LocalConcentration(BaseModule):
    """Two depthwise convolutions, which sharpen what linear attention spreads (the publication's LCM).

    As published, the batch norm follows the activation.

    Args:
        embed_dims (int): Channels.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        # Comes first because ``mmcv.cnn.fuse_conv_bn`` merges a batch norm into the convolution before it.
        self.norm = nn.BatchNorm2d(embed_dims)
        self.conv1 = DepthwiseConv(embed_dims, 7)
        self.conv2 = DepthwiseConv(embed_dims, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a feature map ``(N, C, h, w)``, keeping its shape."""
        return self.conv2(self.norm(F.gelu(self.conv1(x))))


class L2ViTBlock(AttentionBlock):
    """An attention block with convolutions before the attention and before the perceptron.

    A local block has a position encoding before the attention and another
    before the perceptron. A global block has one before the attention, and a
    local concentration between attention and perceptron.

    Args:
        attn (BaseAttention): The attention.
        is_global (bool): Whether it is a global block.
        embed_dims (int): Channels.
        norm_cfg (dict): Config of the norms.
        **kwargs: Arguments of :class:`AttentionBlock`.
    """

    def __init__(self, attn: nn.Module, is_global: bool, *, embed_dims: int, norm_cfg: dict, **kwargs) -> None:
        super().__init__(attn, embed_dims=embed_dims, norm_cfg=norm_cfg, **kwargs)
        self.position_encodings = ModuleList(ConvPositionEncoding(embed_dims) for _ in range(1 if is_global else 2))
        self.local_concentration = None
        if is_global:
            self.norm3 = build_token_norm(norm_cfg, embed_dims)
            self.local_concentration = LocalConcentration(embed_dims)

    def mix_tokens(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend and convolve; see :meth:`BaseBlock.mix_tokens`."""
        x = on_map(self.position_encodings[0], x, hw_shape)
        x = x + self.attend(x, hw_shape)
        if self.local_concentration is None:
            return on_map(self.position_encodings[1], x, hw_shape)
        return x + self.drop_path(on_map(self.local_concentration, self.norm3(x), hw_shape))


@MODELS.register_module()
class L2ViT(BaseBackbone):
    """L2ViT: a backbone for classification, detection and segmentation.

    Blocks alternate between attention within windows and linear attention
    between all tokens. Images may have any size: maps are zero-padded below and
    on the right. There are no position parameters, so weights fit all sizes.

    The published classifier for 384 pixels has ``window_size=12``, all others
    7. The published detectors take a ``window_size`` but never use it: load
    their files with 7.

    Source: The Linear Attention Resurrection in Vision Transformer.

    Args:
        arch (str | dict): A name in ``L2ViT.arch_zoo``, or a dict with one
            value per stage under the keys ``embed_dims``, ``depths`` and
            ``num_heads``. Defaults to ``'tiny'``.
        window_size (int): Height and width of a window, in tokens, of local
            attentions that have one. Defaults to 7.
        global_attn_cfg (dict | Sequence[dict | None], optional): Changes to the
            linear attentions, those of the second, fourth, ... block of each
            stage, in the form of ``attn_cfg``. Defaults to None.
        img_size, in_channels, attn_cfg, drop_rate, with_cp: See
            :class:`BaseBackbone`. ``attn_cfg`` changes the local attentions,
            those of the first, third, ... block of each stage.
        drop_path_rate (float): See :class:`BaseBackbone`. Defaults to 0.1.
        norm_cfg (dict): Config of the norms, except for the batch norms of the
            stem and of the local concentrations. Defaults to layer norm with
            ``eps=1e-5``.
        init_cfg (dict | Sequence[dict], optional): As in mmengine. Defaults to
            truncated normal weights and zero biases of linear layers and
            convolutions, as in the published classifiers.
        **kwargs: Arguments of :class:`BaseBackbone`. The published classifiers
            have ``output_norm='last'``, the published detectors ``'each'``.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from vil_mm.models import L2ViT
        >>> model = L2ViT('tiny', out_indices=(2, 3), output_norm='each')
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 150, 218))]
        [(1, 384, 10, 14), (1, 768, 5, 7)]
    """

    arch_zoo = {
        'nano': dict(embed_dims=[32, 64, 128, 256], depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]),
        'tiny': SWIN_SIZES['tiny'],
        'small': SWIN_SIZES['small'],
        'base': SWIN_SIZES['base'],
    }
    entries = ('stages.0.embed.convs.0.weight', 'stages.0.embed.norm.weight')
    published_entry = 'downsample_layers.0.'
    converter = 'tools/model_converters/l2vit2mm.py'

    @check_arguments
    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        window_size: Size = 7,
        img_size: Size | tuple[Size, Size] = 224,
        in_channels: Size = 3,
        attn_cfg: AttnCfg = None,
        global_attn_cfg: AttnCfg = None,
        drop_rate: Rate = 0.0,
        drop_path_rate: Rate = 0.1,
        with_cp: Recomputed = False,
        norm_cfg: NormCfg = dict(type='LN', eps=1e-5),
        init_cfg: InitCfg | Sequence[InitCfg] | None = (
            dict(type='TruncNormal', layer=['Linear', 'Conv2d'], std=0.02, bias=0.0),
            dict(type='Constant', layer=['LayerNorm', 'BatchNorm2d'], val=1.0, bias=0.0),
        ),
        **kwargs,
    ) -> None:
        settings = arch_settings(arch, self.arch_zoo)
        num_stages = len(settings['depths'])
        grids = grid_sizes(img_size, [STEM_STRIDE] + [STRIDE] * (num_stages - 1))
        local_attns, global_attns = (
            AttentionFactory(
                [dict(type=own)] * num_stages,
                changes,
                own,
                grids,
                argument,
                window_size=window_size,
                proj_drop=drop_rate,
            )
            for own, changes, argument in (
                (LOCAL_ATTENTION, attn_cfg, 'attn_cfg'),
                (GLOBAL_ATTENTION, global_attn_cfg, 'global_attn_cfg'),
            )
        )
        block_cfg: dict = dict(norm_cfg=norm_cfg, drop_rate=drop_rate, with_cp=with_cp)
        stages: list[Stage] = []
        for i, rates in enumerate(drop_path_rates(drop_path_rate, settings['depths'])):
            embed_dims, num_heads = settings['embed_dims'][i], settings['num_heads'][i]
            blocks = []
            for block, rate in enumerate(rates):
                is_global = block % 2 == 1
                attns = global_attns if is_global else local_attns
                attn = attns.build(i, embed_dims=embed_dims, num_heads=num_heads)
                blocks.append(L2ViTBlock(attn, is_global, embed_dims=embed_dims, drop_path_rate=rate, **block_cfg))
            embed = L2ViTDownsample if stages else L2ViTStem
            stages.append(Stage(embed(in_channels, embed_dims, norm_cfg), blocks))
            in_channels = embed_dims
        super().__init__(stages, norm_cfg=norm_cfg, init_cfg=init_cfg, **kwargs)
