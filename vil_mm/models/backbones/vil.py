"""Multi-Scale Vision Longformer."""

from collections.abc import Sequence
from typing import Annotated

import torch
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from ...arguments import Rate, Size, check_arguments, one_of
from ...registry import MODELS, NormCfg
from ..base import (
    AttentionBlock,
    AttentionFactory,
    AttnCfg,
    BaseBackbone,
    Recomputed,
    Stage,
    drop_path_rates,
    grid_sizes,
)
from ..layers import AbsolutePositionEmbedding, BaseEmbedding, PatchEmbedding
from .vil_arch import ARCH_ZOO, SLIDING_WINDOW, is_arch_string, join_arch, parse_stages, resolve_arch


class ViLEmbedding(BaseEmbedding):
    """Patch embedding, with the stage's own global tokens in front, and positions.

    Args:
        in_channels (int): Channels of the map.
        embed_dims (int): Channels of the tokens.
        patch_size (int): Height and width of a patch, in pixels.
        num_global_tokens (int): Global tokens.
        position_embed (AbsolutePositionEmbedding, optional): Absolute position.
        partial_patches (str): See :class:`ViL`.
        norm_cfg (dict): Config of the norm.
        drop_rate (float): Dropout rate of the tokens.
    """

    def __init__(
        self,
        in_channels: int,
        embed_dims: int,
        patch_size: int,
        num_global_tokens: int,
        position_embed: AbsolutePositionEmbedding | None,
        partial_patches: str,
        norm_cfg: dict,
        drop_rate: float,
    ) -> None:
        super().__init__(embed_dims, patch_size, num_global_tokens)
        self.patch_embed = PatchEmbedding(in_channels, embed_dims, patch_size, norm_cfg)
        self.global_tokens = None
        if num_global_tokens:
            self.global_tokens = nn.Parameter(torch.zeros(1, num_global_tokens, embed_dims))
        self.position_embed = position_embed
        self.partial_patches = partial_patches
        self.drop = nn.Dropout(drop_rate)

    def init_weights(self) -> None:
        """Initialize global tokens from a truncated normal distribution with standard deviation 0.02."""
        super().init_weights()
        if self.global_tokens is not None:
            trunc_normal_(self.global_tokens, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed a map; see :class:`BaseEmbedding`. A map smaller than a patch is always zero-padded to one."""
        if self.partial_patches == 'drop':
            height, width = (max(1, size // self.stride) * self.stride for size in x.shape[2:])
            if (height, width) != (x.shape[2], x.shape[3]):
                x = x[:, :, :height, :width]
        x, hw_shape = self.patch_embed(x)
        if self.global_tokens is not None:
            x = torch.cat([self.global_tokens.expand(x.shape[0], -1, -1), x], dim=1)
        if self.position_embed is not None:
            x = self.position_embed(x, hw_shape)
        return self.drop(x), hw_shape


@MODELS.register_module()
class ViL(BaseBackbone):
    """Multi-Scale Vision Longformer: a backbone for classification, detection and segmentation.

    Images may have any size of at least one patch of the first stage. On sizes
    other than ``img_size``, an absolute position is fitted as ``position_fit``
    says, while full attention with a relative position bias raises an error
    that says what to change, unless it has ``resize_bias=True``.

    Source: Multi-Scale Vision Longformer: A New Vision Transformer for
    High-Resolution Image Encoding (arXiv 2103.15358).

    Args:
        arch (str | dict | Sequence[str]): A name in ``ViL.arch_zoo``, a
            published arch string such as
            ``'l1,h3,d96,n1,s1,g1,p4,f7,a0_l2,...'``, or a dict with one value
            per stage under each key of ``vil_arch.ARCH_HINTS``. The string may
            also be given as the list that mmengine's ``--cfg-options`` makes of
            it. Defaults to ``'small'``.
        absolute_position (bool, optional): Whether all stages add an absolute
            position. Defaults to None: as ``arch`` says.
        position_fit (str): How absolute positions are fitted to images of a
            size other than ``img_size``: ``'interpolate'`` resamples them;
            ``'crop'`` uses the first rows and columns, as in the published
            detectors, and needs an ``img_size`` as large as the largest image.
            Defaults to ``'interpolate'``.
        partial_patches (str): What each stage does with rows and columns at the
            lower and right border of its map that do not fill a patch.
            ``'pad'``: the map is zero-padded to whole patches; ``'drop'``: they
            are dropped, as published. Where sides are not multiples of 32,
            dropping makes the outputs of different stages cover different parts
            of the image, which costs detectors and segmenters accuracy.
            Defaults to ``'pad'``.
        relative_position_bias (bool, optional): Whether attentions that have a
            relative position bias use it. Defaults to None: they use it in the
            stages without an absolute position.
        img_size, in_channels, attn_cfg, drop_rate, with_cp: See
            :class:`BaseBackbone`. An ``attn_cfg`` without ``type`` changes the
            sliding windows of ``arch``. With an arch string, an ``attn_cfg``
            with ``type`` replaces the attentions of the stages that have
            ``s1``, and ``f`` means what it means in the publication: the size
            of windows, the number of features, or the reduction ratio.
        drop_path_rate (float): See :class:`BaseBackbone`. Defaults to 0.1.
        norm_cfg (dict): Config of all norms. Defaults to layer norm with
            ``eps=1e-6``.
        **kwargs: Arguments of :class:`BaseBackbone`. The published classifiers
            have ``output_norm='last'``, the published detectors None.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> import torch
        >>> from vil_mm.models import ViL
        >>> model = ViL('tiny', out_indices=(2, 3))
        >>> [tuple(x.shape) for x in model(torch.rand(1, 3, 224, 224))]
        [(1, 192, 14, 14), (1, 384, 7, 7)]
    """

    arch_zoo = ARCH_ZOO
    entries = ('stages.0.embed.patch_embed.projection.weight',)
    published_entry = 'layer1.0.'
    converter = 'tools/model_converters/vil2mm.py'

    @check_arguments
    def __init__(
        self,
        arch: str | dict | Sequence[str] = 'small',
        *,
        img_size: Size | tuple[Size, Size] = 224,
        in_channels: Size = 3,
        absolute_position: bool | None = None,
        position_fit: Annotated[str, one_of('interpolate', 'crop')] = 'interpolate',
        partial_patches: Annotated[str, one_of('pad', 'drop')] = 'pad',
        relative_position_bias: bool | None = None,
        attn_cfg: AttnCfg = None,
        drop_rate: Rate = 0.0,
        drop_path_rate: Rate = 0.1,
        with_cp: Recomputed = False,
        norm_cfg: NormCfg = dict(type='LN', eps=1e-6),
        **kwargs,
    ) -> None:
        arch = join_arch(arch)
        settings = resolve_arch(arch)
        if is_arch_string(arch):
            attn_cfg = string_attn_cfg(arch, attn_cfg)
        depths, patch_sizes = settings['depths'], settings['patch_sizes']
        absolute = settings['absolute_position'] if absolute_position is None else [absolute_position] * len(depths)
        grids = grid_sizes(img_size, patch_sizes, round_up=partial_patches == 'pad')
        attns = AttentionFactory(settings['attn_cfgs'], attn_cfg, SLIDING_WINDOW['type'], grids, proj_drop=drop_rate)
        block_cfg: dict = dict(norm_cfg=norm_cfg, drop_rate=drop_rate, with_cp=with_cp)
        stages: list[Stage] = []
        for i, rates in enumerate(drop_path_rates(drop_path_rate, depths)):
            embed_dims, num_global_tokens = settings['embed_dims'][i], settings['num_global_tokens'][i]
            position_embed = None
            if absolute[i]:
                position_embed = AbsolutePositionEmbedding(embed_dims, grids[i], num_global_tokens, position_fit)
            embed = ViLEmbedding(
                in_channels,
                embed_dims,
                patch_sizes[i],
                num_global_tokens,
                position_embed,
                partial_patches,
                norm_cfg,
                drop_rate,
            )
            biased = not absolute[i] if relative_position_bias is None else relative_position_bias
            attn_args = dict(
                embed_dims=embed_dims, num_heads=settings['num_heads'][i], num_global_tokens=num_global_tokens
            )
            blocks = [
                AttentionBlock(
                    attns.build(i, relative_position_bias=biased, **attn_args),
                    embed_dims=embed_dims,
                    drop_path_rate=rate,
                    **block_cfg,
                )
                for rate in rates
            ]
            stages.append(Stage(embed, blocks))
            in_channels = embed_dims
        super().__init__(stages, norm_cfg=norm_cfg, **kwargs)


def string_attn_cfg(arch: str, attn_cfg: dict | Sequence[dict | None] | None) -> dict | Sequence[dict | None] | None:
    """Give ``attn_cfg`` what a published arch string says of the attentions.

    As published, ``f`` is a setting of whatever attention a stage has, which
    the class names in ``arch_feature``, and a stage with ``s0`` has full
    attention, whatever the others have.

    Args:
        arch (str): The arch string.
        attn_cfg (dict | Sequence[dict | None], optional): The argument of
            :class:`ViL`. What it sets itself takes precedence.

    Returns:
        dict | Sequence[dict | None] | None: The same, completed.

    Raises:
        ValueError: If the arch string is malformed, or if ``attn_cfg`` is one
            dict with ``type`` and no stage has ``s1``.
    """
    stages = parse_stages(arch)
    if isinstance(attn_cfg, dict) and 'type' in attn_cfg:
        if not any(fields['s'] for fields in stages):
            raise ValueError(f'attn_cfg={attn_cfg} has no effect: all stages of arch={arch!r} have s0, full attention')
        attn_cfg = [attn_cfg if fields['s'] else None for fields in stages]
    if not isinstance(attn_cfg, (list, tuple)):
        return attn_cfg
    completed: list[dict | None] = list(attn_cfg)
    for i, (change, fields) in enumerate(zip(attn_cfg, stages)):
        attention = (change or {}).get('type')
        if isinstance(attention, str):
            attention = MODELS.get(attention)
        feature = getattr(attention, 'arch_feature', None)
        if feature:
            completed[i] = {feature: fields['f'], **change}
    return completed
