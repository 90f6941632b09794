"""Multi-Scale Vision Longformer."""

import inspect
from collections.abc import Sequence
from itertools import accumulate

import torch
import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmcv.cnn.bricks.transformer import FFN, PatchEmbed
from mmengine.model import BaseModule, ModuleList
from mmengine.model.weight_init import trunc_normal_
from mmengine.utils import to_2tuple
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...registry import MODELS
from ..layers import AbsolutePositionEmbedding, skip_other_shapes
from .vil_arch import ARCH_ZOO, SLIDING_WINDOW, resolve_arch

MLP_RATIO = 4
# A tensor that every checkpoint of ViL holds, and none of Swin or ConvNeXt, whose names are alike.
ENTRY = 'stages.0.patch_embed.projection.weight'


class ViLBlock(BaseModule):
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

    def __init__(
        self,
        attn: nn.Module,
        embed_dims: int,
        drop_rate: float,
        drop_path_rate: float,
        norm_cfg: dict,
        with_cp: bool | str,
    ) -> None:
        super().__init__()
        if with_cp not in (True, False, 'ffn'):
            raise ValueError(f"with_cp={with_cp!r} is not one of True, False, 'ffn'")
        self.with_cp = with_cp
        self.norm1 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.attn = attn
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = build_norm_layer(norm_cfg, embed_dims)[1]
        self.ffn = FFN(
            embed_dims,
            MLP_RATIO * embed_dims,
            act_cfg=dict(type='GELU'),
            ffn_drop=drop_rate,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
        )

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform tokens ``(N, G + h * w, C)``, keeping their shape."""
        if self.with_cp is True and x.requires_grad:
            return checkpoint(self._forward, x, hw_shape, use_reentrant=False)
        return self._forward(x, hw_shape)

    def _forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
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
class ViL(BaseModule):
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
        final_norm (bool): Whether the output of the last stage is normed.
            Defaults to True.
        frozen_stages (int): Stages up to this index are frozen. Defaults to
            -1: none. The final norm goes with the last stage.
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
        final_norm: bool = True,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool | str = False,
        norm_cfg: dict = dict(type='LN', eps=1e-6),
        init_cfg: dict | list[dict] | None = (
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ),
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        settings = resolve_arch(arch)
        self.depths = settings['depths']
        self.num_global_tokens = settings['num_global_tokens']
        self.out_indices = range(len(self.depths)) if out_indices is None else out_indices
        self.out_type = out_type
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self._check_outputs()

        num_stages = len(self.depths)
        absolute = settings['absolute_position'] if absolute_position is None else [absolute_position] * num_stages
        attn_cfgs = _merge_attn_cfg(settings['attn_cfgs'], attn_cfg)
        drop_path_rates = torch.linspace(0, drop_path_rate, sum(self.depths)).tolist()
        grid = to_2tuple(img_size)
        self.stages = ModuleList()
        for i, embed_dims in enumerate(settings['embed_dims']):
            patch_size = settings['patch_sizes'][i]
            grid = tuple(max(1, size // patch_size) for size in grid)
            biased = not absolute[i] if relative_position_bias is None else relative_position_bias
            attn = _complete_attn_cfg(
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
        self.norm = build_norm_layer(norm_cfg, embed_dims)[1] if final_norm else None
        self._freeze_stages()

    def _check_outputs(self) -> None:
        num_stages = len(self.depths)
        indices = self.out_indices
        if not isinstance(indices, Sequence) or not indices or not all(0 <= i < num_stages for i in indices):
            raise ValueError(f'out_indices={self.out_indices} must name stages, 0 to {num_stages - 1}')
        if self.out_type not in ('featmap', 'avg_featmap', 'cls_token'):
            raise ValueError(f"out_type={self.out_type!r} is not one of 'featmap', 'avg_featmap', 'cls_token'")
        if self.out_type == 'cls_token' and not all(self.num_global_tokens[i] for i in self.out_indices):
            raise ValueError(
                f"out_type='cls_token' needs global tokens in the stages out_indices={self.out_indices}, "
                f"arch has num_global_tokens={self.num_global_tokens}; use 'avg_featmap'"
            )
        if not -1 <= self.frozen_stages < num_stages:
            raise ValueError(f'frozen_stages={self.frozen_stages} must be -1 to {num_stages - 1}')

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            x (Tensor): ``(N, in_channels, H, W)``.

        Returns:
            tuple[Tensor, ...]: One output per stage of ``out_indices``, as
            ``out_type`` says.

        Raises:
            ValueError: If ``x`` has no four dimensions, or is smaller than one
                patch.
        """
        patch_size = self.stages[0].patch_embed.projection.kernel_size
        if x.ndim != 4:
            raise ValueError(f'the images have shape {tuple(x.shape)}, must be (N, C, H, W)')
        if x.shape[-2] < patch_size[0] or x.shape[-1] < patch_size[1]:
            raise ValueError(f'the image has size {tuple(x.shape[-2:])}, must be at least one patch, {patch_size}')
        outputs = []
        for i, stage in enumerate(self.stages):
            x, hw_shape = stage(x)
            if self.norm is not None and i == len(self.stages) - 1:
                x = self.norm(x)
            featmap = x[:, stage.num_global_tokens :].mT.unflatten(2, hw_shape)
            if i in self.out_indices:
                if self.out_type == 'featmap':
                    outputs.append(featmap.contiguous())
                else:
                    outputs.append(x.mean(dim=1) if self.out_type == 'avg_featmap' else x[:, 0])
            x = featmap
        return tuple(outputs)

    def train(self, mode: bool = True) -> 'ViL':
        """Set the mode; frozen stages, and with ``norm_eval`` batch norms, stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze_stages(self) -> None:
        for stage in self.stages[: self.frozen_stages + 1]:
            stage.eval()
            stage.requires_grad_(False)
        if self.norm is not None and self.frozen_stages == len(self.stages) - 1:
            self.norm.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, for layer-wise learning-rate decay.

        The first stage's embedding has depth 0, block ``k`` (1-based, counted
        over all stages) depth ``k``; a later stage's embedding goes with the
        block before it; all that follows the blocks comes last.

        Args:
            param_name (str): Name of the parameter.
            prefix (str): What precedes the backbone's own names. Defaults to ''.

        Returns:
            tuple[int, int]: The depth, and the number of depths.
        """
        num_layers = sum(self.depths) + 2
        path = param_name.removeprefix(prefix).split('.')
        if not param_name.startswith(prefix) or path[0] != 'stages':
            return num_layers - 1, num_layers
        blocks_before = [0, *accumulate(self.depths)][int(path[1])]
        return (blocks_before + int(path[3]) + 1 if path[2] == 'blocks' else blocks_before), num_layers

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        names = [name.removeprefix(prefix) for name in state_dict if name.startswith(prefix)]
        if names and ENTRY not in names:
            raise ValueError(_explain_foreign(names))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _explain_foreign(names: Sequence[str]) -> str:
    """Say why tensors of these names are not those of a ViL."""
    holder = next((name.removesuffix(ENTRY) for name in names if name.endswith(ENTRY)), None)
    if holder is not None:
        advice = f'Its names begin with {holder!r}: load it with prefix={holder!r}.'
    elif any(name.removeprefix('module.').startswith('layer1.0.') for name in names):
        advice = 'It is a published file: convert it with tools/model_converters/vil2mm.py.'
    else:
        advice = 'It is of another model family.'
    return f'the checkpoint does not hold {ENTRY!r} of ViL, but such as {list(names[:3])}. {advice}'


def _merge_attn_cfg(attn_cfgs: Sequence[dict], changes: dict | Sequence[dict | None] | None) -> list[dict]:
    """Apply the argument ``attn_cfg`` to the attentions of an arch, one per stage."""
    sliding = [cfg['type'] == SLIDING_WINDOW['type'] for cfg in attn_cfgs]
    if isinstance(changes, dict):
        if 'type' not in changes and not any(sliding):
            raise ValueError(
                f'attn_cfg={changes} has no type, so it changes sliding-window attentions, and arch has none'
            )
        changes = [changes if 'type' in changes or is_sliding else None for is_sliding in sliding]
    changes = changes or [None] * len(attn_cfgs)
    if isinstance(changes, str) or len(changes) != len(attn_cfgs):
        raise ValueError(f'attn_cfg={changes!r} must be a dict, or have one entry per stage, {len(attn_cfgs)}')
    return [
        dict(change) if change and 'type' in change else dict(cfg, **(change or {}))
        for cfg, change in zip(attn_cfgs, changes)
    ]


def _complete_attn_cfg(attn_cfg: dict, decided: dict, defaults: dict, offered: dict) -> dict:
    """Complete the config of an attention.

    Args:
        attn_cfg (dict): What arch and user say.
        decided (dict): What the arch decides, and nobody else.
        defaults (dict): What holds where ``attn_cfg`` says nothing else.
        offered (dict): As ``defaults``, for attentions that name it among their arguments.
    """
    given = decided.keys() & attn_cfg.keys()
    if given:
        raise ValueError(f'attn_cfg sets {sorted(given)}, which arch decides: {decided}')
    attn_class = attn_cfg['type']
    if isinstance(attn_class, str):
        attn_class = MODELS.get(attn_class)
    if attn_class is None:
        raise ValueError(f'attn_cfg has type={attn_cfg["type"]!r}, which is not registered')
    taken = {name: value for name, value in offered.items() if _takes(attn_class, name)}
    return {**defaults, **taken, **attn_cfg, **decided}


def _takes(cls: type, name: str) -> bool:
    """Whether a class takes an argument, by itself or through the ``**kwargs`` that it hands to its base."""
    for base in cls.__mro__:
        parameters = inspect.signature(base.__init__).parameters
        if name in parameters:
            return True
        if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            break
    return False
