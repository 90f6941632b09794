"""ViTAEv2, also with varied-size windows."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...arguments import Rate, Size, check_arguments
from ...ops import to_map, to_tokens
from ...registry import MODELS, NormCfg
from ..base import (
    MLP_RATIO,
    AttentionBlock,
    AttentionFactory,
    AttnCfg,
    BaseBackbone,
    OutputNorm,
    Recomputed,
    Stage,
    drop_path_rates,
    grid_sizes,
)
from ..layers import (
    MLP,
    BaseEmbedding,
    ConvPositionEncoding,
    build_token_norm,
    grid_of,
    pad_to_multiple,
    to_channels_last,
)
from .vitae_v2_arch import ARCH_ZOO, resolve_arch

#: Strides of the stages' reduction cells.
STRIDES = (4, 2, 2, 2)
POSITION_KERNEL_SIZE = 7


def parallel_convs(dims: Sequence[int], strides: Sequence[int], groups: int) -> nn.Sequential:
    """Build the three grouped 3x3 convolutions, with batch norm and SiLU between them, that run beside an attention.

    Args:
        dims (Sequence[int]): Channels of the input and after each convolution.
        strides (Sequence[int]): Stride of each convolution.
        groups (int): Groups of each convolution.
    """
    layers = []
    for in_channels, out_channels, stride in zip(dims, dims[1:], strides):
        layers += [
            nn.Conv2d(in_channels, out_channels, 3, stride, 1, groups=groups),
            nn.BatchNorm2d(out_channels),
            nn.SiLU(inplace=True),
        ]
    return nn.Sequential(*layers[:-2])


class PyramidReduction(BaseModule):
    """Strided convolutions of several dilations, concatenated along the channels, then GELU.

    Args:
        in_channels (int): Channels of the input.
        branch_dims (int): Output channels of each convolution.
        stride (int): Stride of all convolutions, whose kernels have ``2 *
            stride - 1`` rows and columns.
        dilations (Sequence[int]): Dilation of each convolution.
    """

    def __init__(self, in_channels: int, branch_dims: int, stride: int, dilations: Sequence[int]) -> None:
        super().__init__()
        reach = 2 * stride - 2
        paddings = [math.ceil((reach * dilation + 1 - stride) / 2) for dilation in dilations]
        self.convs = nn.ModuleList(
            nn.Conv2d(in_channels, branch_dims, reach + 1, stride, padding, dilation)
            for padding, dilation in zip(paddings, dilations)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Reduce a map ``(N, C, h, w)``, whose sides are multiples of the stride."""
        return F.gelu(torch.cat([conv(x) for conv in self.convs], dim=1))


class ReductionCell(BaseEmbedding):
    """Dilated convolutions and an attention in parallel with convolutions, then a perceptron.

    The attention takes the channels of all dilated convolutions, and has no
    residual except for one of its own. As published, there is no stochastic
    depth, and norms have ``eps=1e-5`` whatever those of the blocks have.

    Args:
        attn (BaseAttention): The attention.
        in_channels (int): Channels of the map.
        embed_dims (int): Channels of the tokens.
        branch_dims (int): Channels of each dilated convolution.
        hidden_dims (int): Channels between the parallel convolutions.
        stride (int): Stride of the reduction, 2 or 4.
        dilations (Sequence[int]): Dilation of each dilated convolution.
        groups (int): Groups of the parallel convolutions.
        position_encoding (bool): Whether the dilated convolutions are followed
            by a convolutional position encoding.
        norm_cfg (dict): Config of the norms.
    """

    def __init__(
        self,
        attn: nn.Module,
        in_channels: int,
        embed_dims: int,
        branch_dims: int,
        hidden_dims: int,
        stride: int,
        dilations: Sequence[int],
        groups: int,
        position_encoding: bool,
        norm_cfg: dict,
    ) -> None:
        super().__init__(embed_dims, stride)
        in_dims = branch_dims * len(dilations)
        norm_cfg = dict(norm_cfg, eps=1e-5)
        self.pyramid = PyramidReduction(in_channels, branch_dims, stride, dilations)
        self.position_encoding = ConvPositionEncoding(in_dims, POSITION_KERNEL_SIZE) if position_encoding else None
        self.norm1 = build_token_norm(norm_cfg, in_dims)
        self.attn = attn
        self.convs = parallel_convs(
            [in_channels, hidden_dims, hidden_dims, embed_dims], [2, 2, 1] if stride == 4 else [2, 1, 1], groups
        )
        self.norm2 = build_token_norm(norm_cfg, embed_dims)
        self.ffn = MLP(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed a map, zero-padded below and on the right to multiples of the stride; see :class:`BaseEmbedding`."""
        x = to_channels_last(pad_to_multiple(x, self.stride))
        context = self.pyramid(x)
        if self.position_encoding is not None:
            context = self.position_encoding(context)
        hw_shape = grid_of(context)
        tokens = self.attn(self.norm1(to_tokens(context)), hw_shape) + to_tokens(self.convs(x))
        return self.ffn(self.norm2(tokens), identity=tokens), hw_shape


class NormalCell(AttentionBlock):
    """An attention in parallel with convolutions, then a perceptron, each residual.

    As published, only the attention's input has the position encoding; the
    residual and the convolutions take the tokens before it.

    Args:
        attn (BaseAttention): The attention.
        groups (int): Groups of the convolutions.
        position_encoding (bool): Whether the attention's input has a
            convolutional position encoding.
        embed_dims (int): Channels.
        **kwargs: Arguments of :class:`AttentionBlock`.
    """

    def __init__(self, attn: nn.Module, groups: int, position_encoding: bool, *, embed_dims: int, **kwargs) -> None:
        super().__init__(attn, embed_dims=embed_dims, **kwargs)
        self.position_encoding = ConvPositionEncoding(embed_dims, POSITION_KERNEL_SIZE) if position_encoding else None
        self.groups = groups
        self.convs = parallel_convs([embed_dims, MLP_RATIO * embed_dims, embed_dims, embed_dims], [1, 1, 1], groups)

    def mix_tokens(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend and convolve; see :meth:`BaseBlock.mix_tokens`."""
        featmap = to_map(x, hw_shape)
        context = x if self.position_encoding is None else to_tokens(self.position_encoding(featmap))
        attended = self.attend(context, hw_shape)
        # With channels first, grouped convolutions are faster forward but slower backward.
        channels_first = self.groups > 1 and not self.training
        parallel = self.convs(featmap.contiguous() if channels_first else featmap)
        return x + attended + self.drop_path(to_tokens(parallel))


@MODELS.register_module()
class ViTAEv2(BaseBackbone):
    """ViTAEv2, ViTAEv2* and ViTAEv2*-VSA: a backbone for classification, detection and segmentation.

    They differ in their attentions: windows, then full attention (ViTAEv2);
    windows in all stages (ViTAEv2*); windows whose place and size are
    predicted, with a convolutional position encoding before them
    (ViTAEv2*-VSA).

    Images may have any size of at least 4x4 pixels: each stage zero-pads its map below
    and on the right to a multiple of its stride (4, 2, 2, 2). Images whose
    sides are multiples of 32, which the published code asks for, are never
    padded.

    By default, as published, no output has a norm. Also as published, the
    stochastic depth rates of stages overlap: the index of a stage's first rate
    is the number of blocks in the preceding stage, not in all stages before it.
    The last stages therefore repeat rates and never reach the highest ones.

    Source: ViTAEv2: Vision Transformer Advanced by Exploring Inductive Bias for
    Image Recognition and Beyond (arXiv 2202.10108); VSA: Learning Varied-Size
    Window Attention in Vision Transformers (arXiv 2204.08446).

    Args:
        arch (str | dict): A name in ``ViTAEv2.arch_zoo``, or a dict with one
            value per stage under each key of the zoo's entries. Defaults to
            ``'vsa-small'``.
        img_size, in_channels, attn_cfg, drop_rate, with_cp: See
            :class:`BaseBackbone`. ``attn_cfg`` changes the attentions of both
            reduction cells and blocks; the family's own kind is that of the
            first stage.
        drop_path_rate (float): See above and :class:`BaseBackbone`. Reduction
            cells have no stochastic depth. Defaults to 0.1.
        output_norm (str, optional): See :class:`BaseBackbone`. Defaults to
            None, as published.
        norm_cfg (dict): Config of the norms of attentions, perceptrons and
            outputs; those of reduction cells have ``eps=1e-5``. Defaults to
            layer norm with ``eps=1e-6``.
        **kwargs: Arguments of :class:`BaseBackbone`.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from vil_mm.models import ViTAEv2
        >>> model = ViTAEv2('vsa-small', out_indices=(2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 224, 224))]
        [(1, 256, 14, 14), (1, 512, 7, 7)]
    """

    arch_zoo = ARCH_ZOO
    entries = ('stages.0.embed.pyramid.convs.0.weight',)
    published_entry = 'layers.0.RC.'
    converter = 'tools/model_converters/vitae2mm.py'

    @check_arguments
    def __init__(
        self,
        arch: str | dict = 'vsa-small',
        *,
        img_size: Size | tuple[Size, Size] = 224,
        in_channels: Size = 3,
        attn_cfg: AttnCfg = None,
        drop_rate: Rate = 0.0,
        drop_path_rate: Rate = 0.1,
        with_cp: Recomputed = False,
        output_norm: OutputNorm | None = None,
        norm_cfg: NormCfg = dict(type='LN', eps=1e-6),
        **kwargs,
    ) -> None:
        settings = resolve_arch(arch)
        depths, own_type = settings['depths'], settings['attn_cfgs'][0]['type']
        grids = grid_sizes(img_size, STRIDES)
        attns = AttentionFactory(settings['attn_cfgs'], attn_cfg, own_type, grids, proj_drop=drop_rate)
        reduction_attns = AttentionFactory(settings['reduction_attn_cfgs'], attn_cfg, own_type, grids)
        block_cfg: dict = dict(norm_cfg=norm_cfg, drop_rate=drop_rate, with_cp=with_cp)
        stages: list[Stage] = []
        for i, rates in enumerate(drop_path_rates(drop_path_rate, depths, starts=[0, *depths[:-1]])):
            embed_dims, num_heads = settings['embed_dims'][i], settings['num_heads'][i]
            branch_dims, dilations = settings['branch_dims'][i], settings['dilations'][i]
            position_encoding = settings['position_encoding'][i]
            reduction_attn = reduction_attns.build(
                i, embed_dims=embed_dims, in_dims=branch_dims * len(dilations), num_heads=settings['reduction_heads'][i]
            )
            reduction = ReductionCell(
                reduction_attn,
                in_channels,
                embed_dims,
                branch_dims,
                settings['hidden_dims'][i],
                STRIDES[i],
                dilations,
                settings['reduction_groups'][i],
                position_encoding,
                norm_cfg,
            )
            blocks = [
                NormalCell(
                    attns.build(i, embed_dims=embed_dims, num_heads=num_heads),
                    settings['groups'][i],
                    position_encoding,
                    embed_dims=embed_dims,
                    drop_path_rate=rate,
                    **block_cfg,
                )
                for rate in rates
            ]
            stages.append(Stage(reduction, blocks))
            in_channels = embed_dims
        super().__init__(stages, norm_cfg=norm_cfg, output_norm=output_norm, **kwargs)
