"""Multi-Scale Vision Longformer."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import PatchEmbed
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmengine.utils import to_2tuple
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...registry import MODELS
from ..layers import AbsolutePositionEmbedding, build_token_norm, skip_other_shapes
from .attn_cfg import complete_attn_cfg, merge_attn_cfg
from .base_backbone import BaseBackbone
from .base_block import BaseBlock, build_ffn
from .vil_arch import ARCH_ZOO, SLIDING_WINDOW, resolve_arch


class ViLBlock(BaseBlock):
    """Attention, then a multi-layer perceptron, each pre-norm and residual.

    Args:
        attn (nn.Module): The attention, with the interface of ``BaseAttention``.
        embed_dims (int): Channels.
        drop_rate (float): Dropout rate in the perceptron.
        drop_path_rate (float): Stochastic depth rate of both residual branches.
        norm_cfg (dict): Config of the norms.
        with_cp (bool | str): What is recomputed in the backward pass: the
            block (True), its perceptron (``'ffn'``) or nothing (False).
    """

    with_cp_choices = (True, False, 'ffn')

    def __init__(
        self,
        attn: nn.Module,
        embed_dims: int,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
        with_cp: bool | str,
    ) -> None:
        super().__init__(with_cp)
        self.norm1 = build_token_norm(norm_cfg, embed_dims)
        self.attn = attn
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = build_token_norm(norm_cfg, embed_dims)
        self.ffn = build_ffn(embed_dims, drop_rate, drop_path_rate)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform tokens ``(N, G + h * w, C)``, keeping their shape."""
        x = x + self.drop_path(self.attn(self.norm1(x), hw_shape))
        if self.with_cp == 'ffn' and x.requires_grad:
            return checkpoint(self._perceive, x, use_reentrant=False)
        return self._perceive(x)

    def _perceive(self, x: Tensor) -> Tensor:
        return self.ffn(self.norm2(x), identity=x)


class ViLStage(BaseModule):
    """Patch embedding with the stage's own global tokens and positions, then blocks.

    Args:
        patch_embed (PatchEmbed): Cuts a feature map into tokens.
        num_global_tokens (int): Global tokens of this stage.
        position_embed (AbsolutePositionEmbedding, optional): Absolute position.
        blocks (Sequence[ViLBlock]): The blocks.
        drop_rate (float): Dropout rate after the embedding.
    """

    def __init__(
        self,
        patch_embed: PatchEmbed,
        num_global_tokens: int,
        position_embed: AbsolutePositionEmbedding | None,
        blocks: Sequence[ViLBlock],
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.num_global_tokens = num_global_tokens
        self.patch_embed = patch_embed
        self.global_tokens = None
        if num_global_tokens:
            self.global_tokens = nn.Parameter(torch.zeros(1, num_global_tokens, patch_embed.embed_dims))
        self.position_embed = position_embed
        self.drop_after_embed = nn.Dropout(drop_rate)
        self.blocks = ModuleList(blocks)

    def init_weights(self) -> None:
        """Global tokens: truncated normal, standard deviation 0.02."""
        super().init_weights()
        if self.global_tokens is not None:
            trunc_normal_(self.global_tokens, std=0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Transform a feature map.

        Args:
            x (Tensor): ``(N, C, H, W)``. Rows and columns that do not fill a
                patch are left out, as published; a map smaller than a patch is
                zero-padded to one.

        Returns:
            tuple[Tensor, tuple[int, int]]: Tokens ``(N, G + h * w, C')``,
            global tokens first, and the grid ``(h, w)``.
        """
        patch_h, patch_w = self.patch_embed.projection.kernel_size
        if x.shape[2] < patch_h or x.shape[3] < patch_w:
            x = F.pad(x, (0, max(0, patch_w - x.shape[3]), 0, max(0, patch_h - x.shape[2])))
        x, hw_shape = self.patch_embed(x)
        if self.global_tokens is not None:
            x = torch.cat([self.global_tokens.expand(x.shape[0], -1, -1), x], dim=1)
        if self.position_embed is not None:
            x = self.position_embed(x, hw_shape)
        x = self.drop_after_embed(x)
        for block in self.blocks:
            x = block(x, hw_shape)
        return x, hw_shape

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        skip_other_shapes(self, state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


@MODELS.register_module()
class ViL(BaseBackbone):
    """Multi-Scale Vision Longformer: a backbone for classification, detection and segmentation.

    Source: Multi-Scale Vision Longformer: A New Vision Transformer for
    High-Resolution Image Encoding (arXiv 2103.15358).

    Images may have any size of at least one patch of the first stage. What has
    a size of its own is resampled (absolute position) or says so (full
    attention with relative bias).

    Args:
        arch (str | dict): A name of ``ViL.arch_zoo``, a published arch string
            such as ``'l1,h3,d96,n1,s1,g1,p4,f7,a0_l2,...'``, or a dict with one
            value per stage under each key of ``vil_arch.ARCH_KEYS``. Defaults
            to ``'small'``.
        img_size (int | tuple[int, int]): Height and width in pixels that
            position parameters are built for. Defaults to 224.
        in_channels (int): Channels of the image. Defaults to 3.
        absolute_position (bool, optional): Whether all stages add an absolute
            position. Defaults to None: as ``arch`` says.
        position_fit (str): What becomes of absolute positions on images of
            another size than ``img_size``: ``'interpolate'`` resamples them,
            ``'crop'`` takes the first ones, as the published detectors do,
            whose ``img_size`` is the largest image. Defaults to
            ``'interpolate'``.
        relative_position_bias (bool, optional): Whether the attentions that
            know a relative position bias have one. Defaults to None: the
            stages without an absolute position.
        attn_cfg (dict | Sequence[dict | None], optional): Changes to the
            attentions. A dict with ``type`` replaces the attention of every
            stage; a dict without changes the settings of every
            sliding-window attention of ``arch``. A sequence has one entry per
            stage: a dict with ``type`` replaces that stage's attention, one
            without changes its settings. Defaults to None.
        drop_rate (float): Dropout rate after the embeddings, the attentions
            and in the perceptrons. Defaults to 0.
        drop_path_rate (float): Stochastic depth rate of the last block; it
            grows linearly from 0 at the first. Defaults to 0.1.
        out_indices (Sequence[int], optional): Stages whose output is returned.
            Defaults to None: all.
        out_type (str): What is returned of a stage. ``'featmap'``: the map
            ``(N, C, h, w)``; ``'avg_featmap'``: the mean of all tokens, global
            ones included, ``(N, C)``; ``'cls_token'``: the first global token,
            ``(N, C)``. Defaults to ``'featmap'``.
        output_norm (str, optional): ``'last'``: the output of the last stage is
            normed, as in the published classifiers; ``'each'``: every output
            has a norm of its own; None: none is, as in the published detectors.
            Defaults to ``'last'``.
        frozen_stages (int): Stages up to this index are frozen, with the norms
            of their outputs. Defaults to -1: none.
        norm_eval (bool): Whether batch norms stay in evaluation mode.
            Defaults to False.
        with_cp (bool | str): What is recomputed in the backward pass, to save
            memory: the blocks (True), their perceptrons alone, which hold most
            of it (``'ffn'``), or nothing. Defaults to False.
        norm_cfg (dict): Config of the norms. Defaults to layer norm with
            ``eps=1e-6``.
        init_cfg (dict | list[dict], optional): As in mmengine. Defaults to
            truncated normal weights and zero biases of linear layers.

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
    entry = 'stages.0.patch_embed.projection.weight'
    published_entry = 'layer1.0.'
    converter = 'tools/model_converters/vil2mm.py'

    def __init__(
        self,
        arch: str | dict = 'small',
        img_size: int | tuple[int, int] = 224,
        in_channels: int = 3,
        absolute_position: bool | None = None,
        position_fit: str = 'interpolate',
        relative_position_bias: bool | None = None,
        attn_cfg: dict | Sequence[dict | None] | None = None,
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        out_indices: Sequence[int] | None = None,
        out_type: str = 'featmap',
        output_norm: str | None = 'last',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool | str = False,
        norm_cfg: dict = dict(type='LN', eps=1e-6),
        init_cfg: dict | list[dict] | None = (
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ),
    ) -> None:
        settings = resolve_arch(arch)
        super().__init__(
            settings['depths'],
            settings['num_global_tokens'],
            out_indices,
            out_type,
            output_norm,
            frozen_stages,
            norm_eval,
            init_cfg,
        )
        num_stages = len(self.depths)
        absolute = settings['absolute_position'] if absolute_position is None else [absolute_position] * num_stages
        attn_cfgs = merge_attn_cfg(settings['attn_cfgs'], attn_cfg, SLIDING_WINDOW['type'])
        drop_path_rates = [drop_path_rate * i / max(1, sum(self.depths) - 1) for i in range(sum(self.depths))]
        grid = to_2tuple(img_size)
        self.stages = ModuleList()
        for i, embed_dims in enumerate(settings['embed_dims']):
            patch_size = settings['patch_sizes'][i]
            grid = tuple(max(1, size // patch_size) for size in grid)
            biased = not absolute[i] if relative_position_bias is None else relative_position_bias
            attn = complete_attn_cfg(
                attn_cfgs[i],
                decided=dict(
                    embed_dims=embed_dims,
                    num_heads=settings['num_heads'][i],
                    num_global_tokens=self.num_global_tokens[i],
                ),
                defaults=dict(proj_drop=drop_rate),
                offered=dict(grid_size=grid, relative_position_bias=biased),
            )
            stage = ViLStage(
                PatchEmbed(
                    in_channels, embed_dims, kernel_size=patch_size, stride=patch_size, padding=0, norm_cfg=norm_cfg
                ),
                self.num_global_tokens[i],
                AbsolutePositionEmbedding(embed_dims, grid, self.num_global_tokens[i], position_fit)
                if absolute[i]
                else None,
                [
                    ViLBlock(MODELS.build(attn), embed_dims, drop_rate, drop_path_rates.pop(0), norm_cfg, with_cp)
                    for _ in range(self.depths[i])
                ],
                drop_rate,
            )
            self.stages.append(stage)
            in_channels = embed_dims
        self.finish(norm_cfg, settings['embed_dims'], to_2tuple(settings['patch_sizes'][0]))
