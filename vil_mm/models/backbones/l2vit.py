"""L2ViT."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import ConvPositionEncoding, DepthwiseConv, build_token_norm, pad_to_multiple, to_tokens
from .arch import arch_settings
from .attn_cfg import complete_attn_cfg, merge_attn_cfg
from .base_backbone import BaseBackbone
from .base_block import BaseBlock, build_ffn

STEM_STRIDE = 4
LOCAL_ATTENTION = 'vil_mm.WindowAttention'
GLOBAL_ATTENTION = 'vil_mm.LinearAttention'


def on_map(module: nn.Module, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
    """Apply a module of feature maps to tokens."""
    return to_tokens(module(x.mT.unflatten(2, hw_shape)))


class L2ViTStem(BaseModule):
    """Two convolutions of stride 2, with batch norms, then a norm.

    Args:
        in_channels (int): Channels of the image.
        embed_dims (int): Channels of the tokens.
        norm_cfg (dict): Config of the last norm. The others are batch norms,
            whatever it says, as published.
    """

    def __init__(self, in_channels: int, embed_dims: int, norm_cfg: dict) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(in_channels, embed_dims // 2, 3, stride=2, padding=1),
            nn.BatchNorm2d(embed_dims // 2),
            nn.ReLU(inplace=True),
            nn.Conv2d(embed_dims // 2, embed_dims, 3, stride=2, padding=1),
            nn.BatchNorm2d(embed_dims),
        )
        self.norm = build_token_norm(norm_cfg, embed_dims)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Cut images, zero-padded to multiples of 4, into tokens ``(N, h * w, C)`` of a grid ``(h, w)``."""
        x = self.convs(pad_to_multiple(x, STEM_STRIDE).contiguous(memory_format=torch.channels_last))
        return self.norm(to_tokens(x)), tuple(x.shape[2:])


class L2ViTDownsample(BaseModule):
    """A norm, then a convolution that halves the map.

    Args:
        in_dims (int): Channels before.
        embed_dims (int): Channels after.
        norm_cfg (dict): Config of the norm.
    """

    def __init__(self, in_dims: int, embed_dims: int, norm_cfg: dict) -> None:
        super().__init__()
        self.norm = build_token_norm(norm_cfg, in_dims)
        self.projection = nn.Conv2d(in_dims, embed_dims, 2, stride=2)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn a map, zero-padded to even sides after the norm, into tokens ``(N, h * w, C)`` of a grid ``(h, w)``."""
        x = self.norm(to_tokens(x)).mT.unflatten(2, x.shape[2:])
        x = self.projection(pad_to_multiple(x, 2))
        return to_tokens(x), tuple(x.shape[2:])


class LocalConcentration(BaseModule):
    """Two depth-wise convolutions, which sharpen what linear attention spreads (the publication's LCM).

    As published, the batch norm follows the activation.

    Args:
        embed_dims (int): Channels.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        # first, as ``mmcv.cnn.fuse_conv_bn`` takes a batch norm for that of the convolution before it
        self.norm = nn.BatchNorm2d(embed_dims)
        self.conv1 = DepthwiseConv(embed_dims, 7)
        self.conv2 = DepthwiseConv(embed_dims, 7)

    def forward(self, x: Tensor) -> Tensor:
        """Transform a feature map ``(N, C, h, w)``, keeping its shape."""
        return self.conv2(self.norm(F.gelu(self.conv1(x))))


class L2ViTBlock(BaseBlock):
    """Attention, and a multi-layer perceptron, each pre-norm and residual; of one of two kinds.

    A local block has a position encoding before the attention and one before
    the perceptron. A global block has one, and between attention and perceptron
    a local concentration.

    Args:
        attn (nn.Module): The attention, with the interface of ``BaseAttention``.
        embed_dims (int): Channels.
        is_global (bool): Whether it is a global block.
        drop_rate (float): Dropout rate in the perceptron.
        drop_path_rate (float): Stochastic depth rate of the residual branches,
            which are dropped independently.
        norm_cfg (dict): Config of the norms.
        with_cp (bool): Whether the block is recomputed in the backward pass.
    """

    def __init__(
        self,
        attn: nn.Module,
        embed_dims: int,
        is_global: bool,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
        with_cp: bool,
    ) -> None:
        super().__init__(with_cp)
        self.position_encodings = ModuleList(ConvPositionEncoding(embed_dims) for _ in range(1 if is_global else 2))
        self.norm1 = build_token_norm(norm_cfg, embed_dims)
        self.attn = attn
        self.drop_path = DropPath(drop_path_rate)
        self.local_concentration = None
        if is_global:
            self.norm3 = build_token_norm(norm_cfg, embed_dims)
            self.local_concentration = LocalConcentration(embed_dims)
        self.norm2 = build_token_norm(norm_cfg, embed_dims)
        self.ffn = build_ffn(embed_dims, drop_rate, drop_path_rate)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform tokens ``(N, h * w, C)``, keeping their shape."""
        x = on_map(self.position_encodings[0], x, hw_shape)
        x = x + self.drop_path(self.attn(self.norm1(x), hw_shape))
        if self.local_concentration is None:
            x = on_map(self.position_encodings[1], x, hw_shape)
        else:
            x = x + self.drop_path(on_map(self.local_concentration, self.norm3(x), hw_shape))
        return self.ffn(self.norm2(x), identity=x)


class L2ViTStage(BaseModule):
    """The stem or a downsampling, then blocks.

    Args:
        downsample (L2ViTStem | L2ViTDownsample): Cuts a feature map into tokens.
        blocks (Sequence[L2ViTBlock]): The blocks.
    """

    def __init__(self, downsample: L2ViTStem | L2ViTDownsample, blocks: Sequence[L2ViTBlock]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Turn a feature map ``(N, C, H, W)`` into tokens ``(N, h * w, C')`` of a grid ``(h, w)``, rounded up."""
        x, hw_shape = self.downsample(x)
        for block in self.blocks:
            x = block(x, hw_shape)
        return x, hw_shape


@MODELS.register_module()
class L2ViT(BaseBackbone):
    """L2ViT: a backbone for classification, detection and segmentation.

    Blocks alternate: attention within windows, then linear attention between
    all tokens. Images may have any size: maps are zero-padded below and on the
    right. There are no position parameters, so weights fit all sizes.

    Source: The Linear Attention Resurrection in Vision Transformer. The
    published classifier for 384 pixels has ``window_size=12``, all others 7. The
    published detectors take a ``window_size`` but never use it: theirs is
    always 7, so load their files with that.

    Args:
        arch (str | dict): ``'tiny'``, ``'small'``, ``'base'``, or a dict with
            one value per stage under the keys ``embed_dims``, ``depths`` and
            ``num_heads``. Defaults to ``'tiny'``.
        window_size (int): Height and width of a window, in tokens, of local
            attentions that have one. Defaults to 7.
        in_channels (int): Channels of the image. Defaults to 3.
        attn_cfg (dict | Sequence[dict | None], optional): Changes to the local
            attentions, those of every stage's first, third, ... block. A dict
            with ``type`` replaces them all; a dict without changes their
            settings. A sequence has one entry per stage. Defaults to None.
        global_attn_cfg (dict | Sequence[dict | None], optional): The same for
            the linear attentions of the other blocks. Defaults to None.
        drop_rate (float): Dropout rate after the attentions and in the
            perceptrons. Defaults to 0.
        drop_path_rate (float): Stochastic depth rate of the last block; it
            grows linearly from 0 at the first. Defaults to 0.1.
        out_indices (Sequence[int], optional): Stages whose output is returned.
            Defaults to None: all.
        out_type (str): What is returned of a stage. ``'featmap'``: the map
            ``(N, C, h, w)``; ``'avg_featmap'``: the mean of all tokens,
            ``(N, C)``. Defaults to ``'featmap'``.
        output_norm (str, optional): ``'last'``: the output of the last stage is
            normed, as in the published classifiers; ``'each'``: every output
            has a norm of its own, as in the published detectors; None: none is.
            Defaults to ``'last'``.
        frozen_stages (int): Stages up to this index are frozen, with the norms
            of their outputs. Defaults to -1: none.
        norm_eval (bool): Whether batch norms stay in evaluation mode.
            Defaults to False.
        with_cp (bool): Whether blocks are recomputed in the backward pass, to
            save memory. Defaults to False.
        norm_cfg (dict): Config of the norms, but for the batch norms of the
            stem and of the local concentrations. Defaults to layer norm.
        init_cfg (dict | list[dict], optional): As in mmengine. Defaults to
            truncated normal weights and zero biases of linear layers and
            convolutions, as the published classifiers.

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
        'tiny': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24]),
        'small': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 18, 2], num_heads=[3, 6, 12, 24]),
        'base': dict(embed_dims=[128, 256, 512, 1024], depths=[2, 2, 18, 2], num_heads=[4, 8, 16, 32]),
    }
    entry = 'stages.0.downsample.convs.0.weight'
    published_entry = 'downsample_layers.0.'
    converter = 'tools/model_converters/l2vit2mm.py'

    def __init__(
        self,
        arch: str | dict = 'tiny',
        window_size: int = 7,
        in_channels: int = 3,
        attn_cfg: dict | Sequence[dict | None] | None = None,
        global_attn_cfg: dict | Sequence[dict | None] | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] | None = None,
        out_type: str = 'featmap',
        output_norm: str | None = 'last',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict = dict(type='LN', eps=1e-5),
        init_cfg: dict | list[dict] | None = (
            dict(type='TruncNormal', layer=['Linear', 'Conv2d'], std=0.02, bias=0.0),
            dict(type='Constant', layer=['LayerNorm', 'BatchNorm2d'], val=1.0, bias=0.0),
        ),
    ) -> None:
        settings = arch_settings(arch, self.arch_zoo, at_least_one=('embed_dims', 'depths', 'num_heads'))
        depths, num_stages = settings['depths'], len(settings['depths'])
        super().__init__(
            depths, [0] * num_stages, out_indices, out_type, output_norm, frozen_stages, norm_eval, init_cfg
        )
        kinds = [
            merge_attn_cfg([dict(type=own_type)] * num_stages, changes, own_type)
            for own_type, changes in ((LOCAL_ATTENTION, attn_cfg), (GLOBAL_ATTENTION, global_attn_cfg))
        ]
        drop_path_rates = iter(np.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.stages = ModuleList()
        for i, (embed_dims, num_heads) in enumerate(zip(settings['embed_dims'], settings['num_heads'])):
            attns = [
                complete_attn_cfg(
                    attn_cfgs[i],
                    decided=dict(embed_dims=embed_dims, num_heads=num_heads, num_global_tokens=0),
                    defaults=dict(proj_drop=drop_rate),
                    offered=dict(window_size=window_size),
                )
                for attn_cfgs in kinds
            ]
            embed = L2ViTDownsample if i else L2ViTStem
            self.stages.append(
                L2ViTStage(
                    embed(in_channels, embed_dims, norm_cfg),
                    [
                        L2ViTBlock(
                            MODELS.build(attns[j % 2]),
                            embed_dims,
                            bool(j % 2),
                            drop_rate,
                            next(drop_path_rates),
                            norm_cfg,
                            with_cp,
                        )
                        for j in range(depths[i])
                    ],
                )
            )
            in_channels = embed_dims
        self.finish(norm_cfg, settings['embed_dims'], (STEM_STRIDE, STEM_STRIDE))
