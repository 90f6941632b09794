"""ViTAEv2 and its varied-size windows."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import ConvPositionEncoding, build_token_norm, pad_to_multiple, to_tokens
from .attn_cfg import complete_attn_cfg, merge_attn_cfg
from .base_backbone import BaseBackbone
from .base_block import MLP_RATIO, BaseBlock, build_ffn
from .vitae_v2_arch import ARCH_ZOO, resolve_arch

#: Of the stages' reduction cells.
STRIDES = (4, 2, 2, 2)
POSITION_KERNEL_SIZE = 7


def parallel_convs(dims: Sequence[int], strides: Sequence[int], groups: int) -> nn.Sequential:
    """Three grouped 3x3 convolutions with batch norm and SiLU between them, which run beside an attention.

    Args:
        dims (Sequence[int]): Channels of the input and after each convolution.
        strides (Sequence[int]): Of each convolution.
        groups (int): Of each convolution.
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
    """Strided convolutions of several dilations, side by side on the channels, and GELU.

    Args:
        in_channels (int): Channels of the input.
        branch_dims (int): Channels of each convolution.
        stride (int): Of all; a kernel has ``2 * stride - 1`` rows and columns.
        dilations (Sequence[int]): Of each convolution.
    """

    def __init__(self, in_channels: int, branch_dims: int, stride: int, dilations: Sequence[int]) -> None:
        super().__init__()
        reach = 2 * stride - 2
        self.convs = nn.ModuleList(
            nn.Conv2d(
                in_channels,
                branch_dims,
                reach + 1,
                stride,
                padding=math.ceil((reach * dilation + 1 - stride) / 2),
                dilation=dilation,
            )
            for dilation in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        """Reduce a map ``(N, C, h, w)``, whose sides are multiples of the stride."""
        return F.gelu(torch.cat([conv(x) for conv in self.convs], dim=1))


class ReductionCell(BaseModule):
    """Turns a map into tokens: dilated convolutions and an attention, beside them convolutions, then a perceptron.

    The attention takes all channels of the dilated convolutions, and has no
    residual but its own. As published there is no stochastic depth, and the
    norms have ``eps=1e-5`` whatever those of the blocks have.

    Args:
        attn (nn.Module): The attention, with the interface of ``BaseAttention``.
        in_channels (int): Channels of the map.
        embed_dims (int): Channels of the tokens.
        branch_dims (int): Channels of each dilated convolution.
        hidden_dims (int): Channels between the parallel convolutions.
        stride (int): Of the reduction: 2 or 4.
        dilations (Sequence[int]): Of the dilated convolutions.
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
        super().__init__()
        self.stride = stride
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
        self.ffn = FFN(embed_dims, embed_dims, act_cfg=dict(type='GELU'))

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Reduce a map.

        Args:
            x (Tensor): ``(N, C, H, W)``, zero-padded below and on the right to
                multiples of the stride.

        Returns:
            tuple[Tensor, tuple[int, int]]: Tokens ``(N, h * w, C')`` and the
            grid ``(h, w)``.
        """
        # tokens are maps whose channels come last
        x = pad_to_multiple(x, self.stride).contiguous(memory_format=torch.channels_last)
        context = self.pyramid(x)
        if self.position_encoding is not None:
            context = self.position_encoding(context)
        hw_shape = tuple(context.shape[2:])
        tokens = self.attn(self.norm1(to_tokens(context)), hw_shape) + to_tokens(self.convs(x))
        return self.ffn(self.norm2(tokens), identity=tokens), hw_shape


class NormalCell(BaseBlock):
    """An attention, beside it convolutions, then a perceptron, each residual.

    As published, the position encoding is part of the attention's input alone:
    the residual and the convolutions take what comes before it.

    Args:
        attn (nn.Module): The attention, with the interface of ``BaseAttention``.
        embed_dims (int): Channels.
        groups (int): Groups of the convolutions.
        position_encoding (bool): Whether the attention's input has a
            convolutional position encoding.
        drop_rate (float): Dropout rate in the perceptron.
        drop_path_rate (float): Stochastic depth rate of the three branches,
            which drop apart.
        norm_cfg (dict): Config of the norms.
        with_cp (bool): Whether the cell is recomputed in the backward pass.
    """

    def __init__(
        self,
        attn: nn.Module,
        embed_dims: int,
        groups: int,
        position_encoding: bool,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
        with_cp: bool,
    ) -> None:
        super().__init__(with_cp)
        self.position_encoding = ConvPositionEncoding(embed_dims, POSITION_KERNEL_SIZE) if position_encoding else None
        self.norm1 = build_token_norm(norm_cfg, embed_dims)
        self.attn = attn
        self.convs = parallel_convs([embed_dims, MLP_RATIO * embed_dims, embed_dims, embed_dims], [1, 1, 1], groups)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = build_token_norm(norm_cfg, embed_dims)
        self.ffn = build_ffn(embed_dims, drop_rate, drop_path_rate)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform tokens ``(N, h * w, C)``, keeping their shape."""
        featmap = x.mT.unflatten(2, hw_shape)
        context = x if self.position_encoding is None else to_tokens(self.position_encoding(featmap))
        attended = self.drop_path(self.attn(self.norm1(context), hw_shape))
        # with channels first, grouped convolutions are faster forward and slower backward
        channels_first = self.convs[0].groups > 1 and not self.training
        parallel = self.convs(featmap.contiguous() if channels_first else featmap)
        x = x + attended + self.drop_path(to_tokens(parallel))
        return self.ffn(self.norm2(x), identity=x)


class ViTAEStage(BaseModule):
    """A reduction cell, then normal cells.

    Args:
        reduction (ReductionCell): Turns a feature map into tokens.
        blocks (Sequence[NormalCell]): The normal cells.
    """

    def __init__(self, reduction: ReductionCell, blocks: Sequence[NormalCell]) -> None:
        super().__init__()
        self.reduction = reduction
        self.blocks = ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Transform a feature map; see :meth:`ReductionCell.forward`."""
        x, hw_shape = self.reduction(x)
        for block in self.blocks:
            x = block(x, hw_shape)
        return x, hw_shape


@MODELS.register_module()
class ViTAEv2(BaseBackbone):
    """ViTAEv2, ViTAEv2* and ViTAEv2*-VSA: a backbone for classification, detection and segmentation.

    They differ in their attentions: windows, then full attention (ViTAEv2);
    windows in all stages (ViTAEv2*); windows whose place and size are
    predicted, with a convolutional position encoding before them
    (ViTAEv2*-VSA).

    Source: ViTAEv2: Vision Transformer Advanced by Exploring Inductive Bias for
    Image Recognition and Beyond (arXiv 2202.10108); VSA: Learning Varied-Size
    Window Attention in Vision Transformers (arXiv 2204.08446).

    Images may have any size from 4x4 pixels: each stage zero-pads its map below
    and on the right to a multiple of its stride (4, 2, 2, 2). So images whose
    sides are multiples of 32, which the published code asks for, are never
    padded.

    As published, no output has a norm; and the stochastic depth of a stage
    starts with the rate of the block whose index is the depth of the stage
    before it, not of all stages before: rates of the last stages repeat, and
    the highest ones are never used.

    Args:
        arch (str | dict): A name of ``ViTAEv2.arch_zoo``, or a dict with one
            value per stage under each key of ``vitae_v2_arch.ARCH_KEYS``.
            Defaults to ``'vsa-small'``.
        in_channels (int): Channels of the image. Defaults to 3.
        attn_cfg (dict | Sequence[dict | None], optional): Changes to the
            attentions of reduction cells and blocks. A dict with ``type``
            replaces those of every stage; a dict without changes the settings
            of all of the first stage's kind. A sequence has one entry per
            stage: a dict with ``type`` replaces that stage's attentions, one
            without changes their settings. Defaults to None.
        drop_rate (float): Dropout rate after the attentions and in the
            perceptrons of the blocks. Defaults to 0.
        drop_path_rate (float): Stochastic depth rate; it grows linearly over
            the blocks from 0, see above. Reduction cells have none. Defaults to
            0.1.
        out_indices (Sequence[int], optional): Stages whose output is returned.
            Defaults to None: all.
        out_type (str): What is returned of a stage. ``'featmap'``: the map
            ``(N, C, h, w)``; ``'avg_featmap'``: the mean of its tokens,
            ``(N, C)``. Defaults to ``'featmap'``.
        output_norm (str, optional): ``'last'``: the output of the last stage is
            normed; ``'each'``: every output has a norm of its own; None: none
            is, as published. Defaults to None.
        frozen_stages (int): Stages up to this index are frozen, with the norms
            of their outputs. Defaults to -1: none.
        norm_eval (bool): Whether batch norms stay in evaluation mode.
            Defaults to False.
        with_cp (bool): Whether blocks are recomputed in the backward pass, to
            save memory. Defaults to False.
        norm_cfg (dict): Config of the norms of attentions, perceptrons and
            outputs; in reduction cells with ``eps=1e-5``. Defaults to layer
            norm with ``eps=1e-6``.
        init_cfg (dict | list[dict], optional): As in mmengine. Defaults to
            truncated normal weights and zero biases of linear layers, but for
            those of varied-size windows; convolutions as PyTorch has them.

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
    entry = 'stages.0.reduction.pyramid.convs.0.weight'
    published_entry = 'layers.0.RC.'
    converter = 'tools/model_converters/vitae2mm.py'

    def __init__(
        self,
        arch: str | dict = 'vsa-small',
        in_channels: int = 3,
        attn_cfg: dict | Sequence[dict | None] | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] | None = None,
        out_type: str = 'featmap',
        output_norm: str | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict = dict(type='LN', eps=1e-6),
        init_cfg: dict | list[dict] | None = (
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ),
    ) -> None:
        settings = resolve_arch(arch)
        num_stages = len(STRIDES)
        super().__init__(
            settings['depths'],
            [0] * num_stages,
            out_indices,
            out_type,
            output_norm,
            frozen_stages,
            norm_eval,
            init_cfg,
        )
        own_type = settings['attn_cfgs'][0]['type']
        attn_cfgs = merge_attn_cfg(settings['attn_cfgs'], attn_cfg, own_type)
        reduction_attn_cfgs = merge_attn_cfg(settings['reduction_attn_cfgs'], attn_cfg, own_type)
        last = sum(self.depths) - 1
        rates = [drop_path_rate * block / last for block in range(last + 1)]
        self.stages = ModuleList()
        for i, embed_dims in enumerate(settings['embed_dims']):
            branch_dims, dilations = settings['branch_dims'][i], settings['dilations'][i]
            attn = complete_attn_cfg(
                reduction_attn_cfgs[i],
                decided=dict(
                    embed_dims=embed_dims,
                    in_dims=branch_dims * len(dilations),
                    num_heads=settings['reduction_heads'][i],
                ),
                defaults={},
                offered={},
            )
            reduction = ReductionCell(
                MODELS.build(attn),
                in_channels,
                embed_dims,
                branch_dims,
                settings['hidden_dims'][i],
                STRIDES[i],
                dilations,
                settings['reduction_groups'][i],
                settings['position_encoding'][i],
                norm_cfg,
            )
            attn = complete_attn_cfg(
                attn_cfgs[i],
                decided=dict(embed_dims=embed_dims, num_heads=settings['num_heads'][i]),
                defaults=dict(proj_drop=drop_rate),
                offered={},
            )
            first = self.depths[i - 1] if i else 0
            blocks = [
                NormalCell(
                    MODELS.build(attn),
                    embed_dims,
                    settings['groups'][i],
                    settings['position_encoding'][i],
                    drop_rate,
                    rate,
                    norm_cfg,
                    with_cp,
                )
                for rate in rates[first : first + self.depths[i]]
            ]
            self.stages.append(ViTAEStage(reduction, blocks))
            in_channels = embed_dims
        self.finish(norm_cfg, settings['embed_dims'], (STRIDES[0], STRIDES[0]))
