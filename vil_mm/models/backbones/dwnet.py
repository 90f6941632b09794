"""DWNet: depth-wise convolution in place of window attention."""

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ...registry import MODELS
from ..layers import (
    DepthwiseConv,
    DynamicDepthwiseConv,
    InhomogeneousDepthwiseConv,
    PatchMerging,
    PointwiseConv,
    pad_to_multiple,
)
from .arch import arch_settings
from .base_backbone import BaseBackbone
from .base_block import BaseBlock, build_ffn

KERNEL_SIZE = 7
PATCH_SIZE = 4
LAYER_NORM = dict(type='LN')


class DepthwiseMixer(BaseModule):
    """A depth-wise convolution between two point-wise ones, each followed by a norm.

    Args:
        channels (int): Channels.
        depthwise (nn.Module): The depth-wise convolution.
        norm_cfg (dict): Config of the norms.
    """

    def __init__(self, channels: int, depthwise: nn.Module, norm_cfg: dict) -> None:
        super().__init__()
        self.conv1 = PointwiseConv(channels, channels, bias=False)
        self.bn1 = build_norm_layer(norm_cfg, channels)[1]
        self.depthwise = depthwise
        self.bn2 = build_norm_layer(norm_cfg, channels)[1]
        self.conv2 = PointwiseConv(channels, channels, bias=False)
        self.bn3 = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: Tensor) -> Tensor:
        """Mix a feature map ``(N, C, H, W)``, keeping its shape."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.depthwise(x)), inplace=True)
        return self.bn3(self.conv2(x))


class DWNetBlock(BaseBlock):
    """A depth-wise mixer without a norm before it, then a perceptron with a batch norm before it; both residual.

    Args:
        mixer (nn.Module): Takes and returns a feature map.
        embed_dims (int): Channels.
        pad_size_divisor (int, optional): The mixer's map is zero-padded to
            multiples of it. None: it is not padded.
        drop_rate (float): Dropout rate in the perceptron.
        drop_path_rate (float): Stochastic depth rate of both residual branches.
        norm_cfg (dict): Config of the norm.
        with_cp (bool): Whether the block is recomputed in the backward pass.
    """

    def __init__(
        self,
        mixer: nn.Module,
        embed_dims: int,
        pad_size_divisor: int | None,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
        with_cp: bool,
    ) -> None:
        super().__init__(with_cp)
        self.pad_size_divisor = pad_size_divisor
        self.mixer = mixer
        self.drop_path = DropPath(drop_path_rate)
        self.bn = build_norm_layer(norm_cfg, embed_dims)[1]
        self.ffn = build_ffn(embed_dims, drop_rate, drop_path_rate)

    def _forward(self, x: Tensor) -> Tensor:
        """Transform a feature map ``(N, C, H, W)`` in ``channels_last``, keeping its shape."""
        x = x + self.drop_path(self._mix(x))
        # in channels_last, pixels are tokens without a copy
        tokens, normed = (t.permute(0, 2, 3, 1) for t in (x, self.bn(x)))
        return self.ffn(normed, identity=tokens).permute(0, 3, 1, 2)

    def _mix(self, x: Tensor) -> Tensor:
        if self.pad_size_divisor is None:
            return self.mixer(x)
        height, width = x.shape[2:]
        return self.mixer(pad_to_multiple(x, self.pad_size_divisor))[:, :, :height, :width]


class DWNetStage(BaseModule):
    """Patch embedding or merging, then blocks.

    Args:
        embed (nn.Module): Turns a feature map into tokens and their grid.
        blocks (Sequence[DWNetBlock]): The blocks.
        drop_rate (float): Dropout rate after the embedding.
    """

    def __init__(self, embed: nn.Module, blocks: Sequence[DWNetBlock], drop_rate: float) -> None:
        super().__init__()
        self.embed = embed
        self.drop_after_embed = nn.Dropout(drop_rate)
        self.blocks = ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Transform a feature map ``(N, C, H, W)`` into tokens ``(N, h * w, C')`` of a grid ``(h, w)``."""
        tokens, hw_shape = self.embed(x)
        x = self.drop_after_embed(tokens).mT.unflatten(2, hw_shape)
        for block in self.blocks:
            x = block(x)
        return x.flatten(2).mT, hw_shape


@MODELS.register_module()
class DWNet(BaseBackbone):
    """DWNet and Dynamic-DWNet: a backbone for classification, detection and segmentation.

    Swin Transformer with a depth-wise convolution for its window attention, and
    batch norms in its blocks. Images may have any size; maps are zero-padded
    below and on the right to whole patches, and to even sizes before they are
    merged, as published.

    Source: Demystifying Local Vision Transformer: Sparse Connectivity, Weight
    Sharing, and Dynamic Weight (arXiv 2106.04263).

    Args:
        arch (str | dict): A name of ``DWNet.arch_zoo``, or a dict with one
            value per stage under ``embed_dims`` and ``depths``. Defaults to
            ``'tiny'``.
        conv_type (str): The kernels of the depth-wise convolutions.
            ``'static'``: learned ones (DWNet); ``'dynamic'``: computed for each
            image from its mean over all pixels (Dynamic-DWNet);
            ``'inhomogeneous'``: computed for each pixel, and shared by groups
            of channels. With ``'dynamic'``, which has batch norms over the
            images alone, a batch of one image cannot be trained on; nothing
            bounds its output, which is of second degree in its input. Defaults
            to ``'static'``.
        num_groups (int): Groups of channels that share a kernel, with
            ``'inhomogeneous'``. Defaults to 32, as published.
        pad_size_divisor (int, optional): The map of each block is zero-padded
            below and on the right to a multiple of it before the convolutions,
            and cropped after them. The published detectors and segmentors do
            so, with 7, though no convolution needs it. It changes the results
            where it pads: beyond the border lies what the first convolution
            and norm make of zeros, and dynamic kernels see the mean of a map
            with zeros. None: no padding, as in the published classifiers, which
            give the same on maps of multiples of 7, such as those of 224
            pixels. Defaults to None.
        in_channels (int): Channels of the image. Defaults to 3.
        drop_rate (float): Dropout rate after the embeddings and in the
            perceptrons. Defaults to 0.
        drop_path_rate (float): Stochastic depth rate of the last block; it
            grows linearly from 0 at the first. Defaults to 0.2.
        out_indices (Sequence[int], optional): Stages whose output is returned.
            Defaults to None: all.
        out_type (str): What is returned of a stage: ``'featmap'``, the map
            ``(N, C, h, w)``, or ``'avg_featmap'``, its mean, ``(N, C)``.
            Defaults to ``'featmap'``.
        output_norm (str, optional): ``'last'``: the output of the last stage
            has a layer norm, as in the published classifiers; ``'each'``: every
            output has a norm of ``norm_cfg``, as in the published detectors;
            None: none has. Defaults to ``'last'``.
        frozen_stages (int): Stages up to this index are frozen, with the norms
            of their outputs. Defaults to -1: none.
        norm_eval (bool): Whether batch norms stay in evaluation mode.
            Defaults to False.
        with_cp (bool): Whether the blocks are recomputed in the backward pass,
            to save memory. Defaults to False.
        norm_cfg (dict): Config of the norms in the blocks, and of those of the
            outputs with ``output_norm='each'``. Defaults to batch norm; the
            published detectors have ``dict(type='SyncBN')``.
        init_cfg (dict | list[dict], optional): As in mmengine. Defaults to
            truncated normal weights of linear layers; convolutions are as
            PyTorch initializes them.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from vil_mm.models import DWNet
        >>> model = DWNet('tiny', conv_type='dynamic', out_indices=(2, 3)).eval()
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 224, 224))]
        [(1, 384, 14, 14), (1, 768, 7, 7)]
    """

    arch_zoo = {
        'nano': dict(embed_dims=[32, 64, 128, 256], depths=[1, 1, 4, 1]),
        'tiny': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 6, 2]),
        'base': dict(embed_dims=[128, 256, 512, 1024], depths=[2, 2, 18, 2]),
    }
    #: A tensor of each kind that the other kinds do not have.
    entries = {
        'static': 'stages.0.blocks.0.mixer.depthwise.weight',
        'dynamic': 'stages.0.blocks.0.mixer.depthwise.image_kernels.squeeze.weight',
        'inhomogeneous': 'stages.0.blocks.0.mixer.depthwise.pixel_kernels.squeeze.weight',
    }
    published_entry = 'layers.0.blocks.0.attn2conv.'
    converter = 'tools/model_converters/dwnet2mm.py'

    def __init__(
        self,
        arch: str | dict = 'tiny',
        conv_type: str = 'static',
        num_groups: int = 32,
        pad_size_divisor: int | None = None,
        in_channels: int = 3,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.2,
        out_indices: Sequence[int] | None = None,
        out_type: str = 'featmap',
        output_norm: str | None = 'last',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        norm_cfg: dict = dict(type='BN'),
        init_cfg: dict | list[dict] | None = (
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ),
    ) -> None:
        settings = arch_settings(arch, self.arch_zoo, ('embed_dims', 'depths'))
        if conv_type not in self.entries:
            raise ValueError(f'conv_type={conv_type!r} is not one of {list(self.entries)}')
        if pad_size_divisor is not None and pad_size_divisor < 1:
            raise ValueError(f'pad_size_divisor={pad_size_divisor} must be at least 1, or None')
        depths = settings['depths']
        super().__init__(
            depths, [0] * len(depths), out_indices, out_type, output_norm, frozen_stages, norm_eval, init_cfg
        )
        self.entry = self.entries[conv_type]
        drop_path_rates = np.linspace(0, drop_path_rate, sum(depths)).tolist()
        self.stages = ModuleList()
        for depth, embed_dims in zip(depths, settings['embed_dims']):
            if self.stages:
                embed = PatchMerging(in_channels, embed_dims, LAYER_NORM)
            else:
                embed = PatchEmbed(
                    in_channels, embed_dims, kernel_size=PATCH_SIZE, stride=PATCH_SIZE, norm_cfg=LAYER_NORM
                )
            blocks = [
                DWNetBlock(
                    DepthwiseMixer(embed_dims, build_depthwise(conv_type, embed_dims, num_groups, norm_cfg), norm_cfg),
                    embed_dims,
                    pad_size_divisor,
                    drop_rate,
                    drop_path_rates.pop(0),
                    norm_cfg,
                    with_cp,
                )
                for _ in range(depth)
            ]
            self.stages.append(DWNetStage(embed, blocks, drop_rate))
            in_channels = embed_dims
        self.finish(norm_cfg if output_norm == 'each' else LAYER_NORM, settings['embed_dims'], (PATCH_SIZE, PATCH_SIZE))

    def _explain_foreign(self, names: Sequence[str]) -> str:
        for conv_type, entry in self.entries.items():
            if entry in names:
                return (
                    f'the checkpoint does not hold {self.entry!r}: its depth-wise convolutions are {conv_type}. Build '
                    f'the model with conv_type={conv_type!r}'
                )
        return super()._explain_foreign(names)


def build_depthwise(conv_type: str, channels: int, num_groups: int | None, norm_cfg: dict) -> nn.Module:
    """Build a depth-wise convolution of one of the kinds of :class:`DWNet`."""
    if conv_type == 'static':
        return DepthwiseConv(channels, KERNEL_SIZE)
    if conv_type == 'dynamic':
        return DynamicDepthwiseConv(channels, KERNEL_SIZE, norm_cfg)
    return InhomogeneousDepthwiseConv(channels, KERNEL_SIZE, norm_cfg, num_groups)
