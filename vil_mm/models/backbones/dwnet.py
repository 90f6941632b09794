"""DWNet: depthwise convolution in place of window attention."""

from collections.abc import Sequence
from typing import Annotated

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from ...arguments import Rate, Size, check_arguments, one_of
from ...ops import to_map, to_tokens
from ...registry import MODELS, NormCfg
from ..base import BaseBackbone, BaseBlock, OutputNorm, Recomputed, Stage, arch_settings, drop_path_rates
from ..layers import (
    DepthwiseConv,
    DynamicDepthwiseConv,
    InhomogeneousDepthwiseConv,
    PatchEmbedding,
    PatchMerging,
    PointwiseConv,
    build_map_norm,
    pad_to_multiple,
)

KERNEL_SIZE = 7
PATCH_SIZE = 4
LAYER_NORM = dict(type='LN')


class DepthwiseMixer(BaseModule):
    """A depthwise convolution between two pointwise ones; all three are followed by a norm.

    Args:
        channels (int): Channels.
        depthwise (nn.Module): The depthwise convolution.
        norm_cfg (dict): Config of the norms.
    """

    def __init__(self, channels: int, depthwise: nn.Module, norm_cfg: dict) -> None:
        super().__init__()
        self.conv1 = PointwiseConv(channels, channels, bias=False)
        self.bn1 = build_map_norm(norm_cfg, channels)
        self.depthwise = depthwise
        self.bn2 = build_map_norm(norm_cfg, channels)
        self.conv2 = PointwiseConv(channels, channels, bias=False)
        self.bn3 = build_map_norm(norm_cfg, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Mix a feature map ``(N, C, H, W)``, keeping its shape."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.depthwise(x)), inplace=True)
        return self.bn3(self.conv2(x))


class DWNetBlock(BaseBlock):
    """A residual depthwise mixer with no norm before it, then a residual perceptron with a batch norm before it.

    Args:
        mixer (nn.Module): Takes and returns a feature map.
        pad_size_divisor (int, optional): The mixer's map is zero-padded to
            multiples of it. None: it is not padded.
        **kwargs: Arguments of :class:`BaseBlock`.
    """

    ffn_norm = 'bn'  # the published recipes decay batch norms, which they tell from other norms by name

    def __init__(self, mixer: nn.Module, pad_size_divisor: int | None, **kwargs) -> None:
        super().__init__(**kwargs)
        self.pad_size_divisor = pad_size_divisor
        self.mixer = mixer

    def mix_tokens(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Convolve; see :meth:`BaseBlock.mix_tokens`."""
        featmap = to_map(x, hw_shape)
        if self.pad_size_divisor is None:
            mixed = to_tokens(self.mixer(featmap))
        else:
            featmap = pad_to_multiple(featmap, self.pad_size_divisor)
            mixed = to_tokens(self.mixer(featmap), hw_shape)
        return x + self.drop_path(mixed)


@MODELS.register_module()
class DWNet(BaseBackbone):
    """DWNet and Dynamic-DWNet: a backbone for classification, detection and segmentation.

    This is Swin Transformer with depthwise convolution in place of window
    attention, and batch norms in its blocks. Images may have any size: as
    published, maps are zero-padded below and on the right to whole patches, and
    to even sizes before they are merged.

    Source: Demystifying Local Vision Transformer: Sparse Connectivity, Weight
    Sharing, and Dynamic Weight (arXiv 2106.04263).

    Args:
        arch (str | dict): A name in ``DWNet.arch_zoo``, or a dict with one
            value per stage under ``embed_dims`` and ``depths``. Defaults to
            ``'tiny'``.
        conv_type (str): Where the kernels of the depthwise convolutions come
            from. ``'static'``: they are learned (DWNet); ``'dynamic'``: they
            are computed for each image from the mean of its feature map
            (Dynamic-DWNet); ``'inhomogeneous'``: they are computed at each
            pixel and shared by groups of channels. Unless ``norm_eval=True`` or
            the norm is synchronized between GPUs, training with ``'dynamic'``
            on a batch of one image raises an error, because batch norms would
            take their statistics from that image alone. The output of a dynamic
            convolution grows with the square of its input. Defaults to
            ``'static'``.
        num_groups (int): With ``'inhomogeneous'``, the number of groups of
            channels; those in a group share a kernel. Defaults to 32, as
            published.
        pad_size_divisor (int, optional): The map of each block is zero-padded
            below and on the right to a multiple of it before the convolutions,
            and cropped after them. The published detectors and segmenters do
            so with 7, although no convolution needs it. Where maps are padded,
            the results change: beyond the border, the depthwise convolution
            sees the values that the first convolution and norm compute from
            zeros, and dynamic kernels are computed from a mean that includes
            the padding. Defaults to None: no padding, as in the published
            classifiers.
        in_channels, drop_rate, with_cp: See :class:`BaseBackbone`.
        drop_path_rate (float): See :class:`BaseBackbone`. Defaults to 0.2.
        output_norm (str, optional): See :class:`BaseBackbone`. With ``'last'``,
            as in the published classifiers, the norm is a layer norm; with
            ``'each'``, as in the published detectors, the norms are built from
            ``norm_cfg``. Defaults to ``'last'``.
        norm_cfg (dict): Config of the norms in the blocks. Defaults to batch
            norm; the published detectors have ``dict(type='SyncBN')``.
        **kwargs: Arguments of :class:`BaseBackbone`.

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
    #: By kind of convolution, see ``BaseBackbone.entries``.
    entries_of_kind = {
        'static': ('stages.0.blocks.0.mixer.depthwise.weight',),
        'dynamic': ('stages.0.blocks.0.mixer.depthwise.image_kernels.squeeze.weight',),
        'inhomogeneous': ('stages.0.blocks.0.mixer.depthwise.pixel_kernels.squeeze.weight',),
    }
    published_entry = 'layers.0.blocks.0.attn2conv.'
    converter = 'tools/model_converters/dwnet2mm.py'

    @check_arguments
    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        conv_type: Annotated[str, one_of('static', 'dynamic', 'inhomogeneous')] = 'static',
        num_groups: Size = 32,
        pad_size_divisor: Size | None = None,
        in_channels: Size = 3,
        drop_rate: Rate = 0.0,
        drop_path_rate: Rate = 0.2,
        with_cp: Recomputed = False,
        output_norm: OutputNorm | None = 'last',
        norm_cfg: NormCfg = dict(type='BN'),
        **kwargs,
    ) -> None:
        settings = arch_settings(arch, self.arch_zoo)
        block_cfg: dict = dict(norm_cfg=norm_cfg, drop_rate=drop_rate, with_cp=with_cp)
        stages: list[Stage] = []
        for embed_dims, rates in zip(settings['embed_dims'], drop_path_rates(drop_path_rate, settings['depths'])):
            if stages:
                embed = PatchMerging(in_channels, embed_dims, LAYER_NORM)
            else:
                embed = PatchEmbedding(in_channels, embed_dims, PATCH_SIZE, LAYER_NORM, drop_rate)
            blocks = [
                DWNetBlock(
                    DepthwiseMixer(embed_dims, build_depthwise(conv_type, embed_dims, num_groups, norm_cfg), norm_cfg),
                    pad_size_divisor,
                    embed_dims=embed_dims,
                    drop_path_rate=rate,
                    **block_cfg,
                )
                for rate in rates
            ]
            stages.append(Stage(embed, blocks))
            in_channels = embed_dims
        super().__init__(
            stages,
            norm_cfg=norm_cfg if output_norm == 'each' else LAYER_NORM,
            output_norm=output_norm,
            **kwargs,
        )
        self.entries = self.entries_of_kind[conv_type]

    def _explain_foreign(self, names: Sequence[str], missing: str) -> str:
        for conv_type, entries in self.entries_of_kind.items():
            if set(entries) <= set(names):
                return (
                    f'the checkpoint does not hold {missing!r}: its depthwise convolutions are {conv_type}. Build '
                    f'the model with conv_type={conv_type!r}'
                )
        return super()._explain_foreign(names, missing)


def build_depthwise(conv_type: str, channels: int, num_groups: Size, norm_cfg: dict) -> nn.Module:
    """Build a depthwise convolution of one of the kinds of :class:`DWNet`."""
    if conv_type == 'static':
        return DepthwiseConv(channels, KERNEL_SIZE)
    if conv_type == 'dynamic':
        return DynamicDepthwiseConv(channels, KERNEL_SIZE, norm_cfg)
    return InhomogeneousDepthwiseConv(channels, KERNEL_SIZE, norm_cfg, num_groups)
