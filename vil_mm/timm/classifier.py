"""A backbone with a classifier's head, with the methods that timm's models have."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from operator import mul
from typing import Annotated, Any

import torch
from mmengine.logging import MMLogger
from timm.layers import ClassifierHead
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from ..arguments import Allowed, Count, Rate, Size, check_arguments, one_of
from ..models.base import BaseBackbone
from ..models.layers import norm_tokens
from ..ops import to_map

#: Names of parameters that published recipes do not decay, besides norms and biases, which timm itself tells.
NOT_DECAYED = 'global_tokens', 'position_embed', 'relative_position_bias'

BackboneClass = Annotated[type, Allowed(lambda kind: issubclass(kind, BaseBackbone), 'a subclass of BaseBackbone')]
Pooling = Annotated[str, one_of('', 'avg', 'max', 'avgmax', 'catavgmax')]
#: Arguments of the backbone that timm's models have no use for.
DECIDED = {'out_indices', 'out_type', 'output_norm'}


class Classifier(nn.Module):
    """A backbone of this package, global pooling and a linear layer, as timm's models are.

    Its tensors have the names of those of an mmpretrain ``ImageClassifier``
    with a ``LinearClsHead``, so both load each other's checkpoints. Images of
    sizes other than the one it is built for are allowed as by the backbone.

    Args:
        backbone (type): A subclass of ``BaseBackbone``.
        num_classes (int): Classes; 0 for none: the pooled features are
            returned. Defaults to 1000.
        in_chans (int): Channels of the images. Defaults to 3.
        global_pool (str): ``'avg'``, ``'max'``, their mean ``'avgmax'``, both
            ``'catavgmax'``, or ``''``: none. Defaults to ``'avg'``.
        drop_rate (float): Dropout rate before the linear layer. Defaults to 0.
        proj_drop_rate (float): The backbone's ``drop_rate``. Defaults to 0.
        device (torch.device | str, optional): Defaults to None: the CPU.
        dtype (torch.dtype, optional): Defaults to None: float32.
        **kwargs: Other arguments of the backbone, such as ``arch``,
            ``drop_path_rate``, ``img_size`` and ``attn_cfg``, but not those
            that decide its outputs.

    Raises:
        ValueError: If an argument is out of its range.
    """

    @check_arguments
    def __init__(
        self,
        backbone: BackboneClass,
        *,
        num_classes: Count = 1000,
        in_chans: Size = 3,
        global_pool: Pooling = 'avg',
        drop_rate: Rate = 0.0,
        proj_drop_rate: Rate = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        **kwargs,
    ) -> None:
        super().__init__()
        decided = sorted(DECIDED & kwargs.keys())
        if decided:
            raise ValueError(f'{decided} cannot be set: timm has features_only, out_indices and global_pool instead')
        self.backbone = backbone(in_channels=in_chans, drop_rate=proj_drop_rate, **kwargs)
        embeds = [stage.embed for stage in self.backbone.stages]
        self.backbone.out_indices = (len(embeds) - 1,)
        strides = accumulate((embed.stride for embed in embeds), mul)
        self.feature_info = [
            dict(num_chs=embed.embed_dims, reduction=stride, module=f'backbone.stages.{i}')
            for i, (embed, stride) in enumerate(zip(embeds, strides))
        ]
        self.in_chans = in_chans
        self.num_classes = num_classes
        self.num_features = self.feature_info[-1]['num_chs']
        self.head = ClassifierHead(self.num_features, num_classes, global_pool, drop_rate)
        self.head_hidden_size = self.head.num_features
        self._traits = dict(first_conv=None)  # the backbone adapts its own to other channels
        self.init_weights()
        self.to(device=device, dtype=dtype)

    def init_weights(self) -> None:
        """Initialize all parameters, the linear layer from a truncated normal distribution."""
        with _quiet():
            self.backbone.init_weights()
        if isinstance(self.head.fc, nn.Linear):
            nn.init.trunc_normal_(self.head.fc.weight, std=0.02)
            nn.init.zeros_(self.head.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify images ``(N, in_chans, H, W)``: scores ``(N, num_classes)``, or pooled features without classes."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute the last stage's feature map, ``(N, num_features, h, w)``, after the last norm."""
        return self.backbone(x)[-1]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Classify feature maps ``(N, num_features, h, w)``; with ``pre_logits``, only pool them."""
        return self.head(x, pre_logits)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Compute the feature maps of several stages.

        Args:
            x (Tensor): Images, ``(N, in_chans, H, W)``.
            indices (int | list[int], optional): The stages, negative ones
                counted from the end; or how many of the last ones. Defaults to
                None: all.
            norm (bool): Whether the last stage's map is normalized. Defaults
                to False.
            stop_early (bool): Whether to skip the stages after the last of
                these. Defaults to False.
            output_fmt (str): ``'NCHW'``.
            intermediates_only (bool): Whether to return only the maps of these
                stages. Defaults to False.

        Returns:
            list[Tensor] | tuple[Tensor, list[Tensor]]: What
            :meth:`forward_features` returns (with ``stop_early``, the last map
            that was computed), and the maps, ``(N, C, h, w)`` each.

        Raises:
            ValueError: If ``output_fmt`` is another, or the images are no
                batch or too small.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f"output_fmt={output_fmt!r} must be 'NCHW'")
        self.backbone.check_images(x)
        stages = self.backbone.stages
        taken, last = feature_take_indices(len(stages), indices)
        intermediates = []
        for i, stage in enumerate(stages[: last + 1] if stop_early or intermediates_only else stages):
            tokens, hw_shape = stage(x)
            tokens = tokens[:, stage.embed.num_global_tokens :]
            x = to_map(tokens, hw_shape)
            final = x
            if i == len(stages) - 1 and self.backbone.norm is not None:
                final = to_map(norm_tokens(self.backbone.norm, tokens), hw_shape)
            if i in taken:
                intermediates.append((final if norm else x).contiguous())
        return intermediates if intermediates_only else (final.contiguous(), intermediates)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove the stages after the last of some; see :meth:`forward_intermediates`.

        Args:
            indices (int | list[int]): The stages. Defaults to 1: the last.
            prune_norm (bool): Whether to remove the last norm in any case.
                Defaults to False.
            prune_head (bool): Whether to remove the head in any case. Defaults
                to True.

        Returns:
            list[int]: The stages, counted from the first.
        """
        stages = self.backbone.stages
        taken, last = feature_take_indices(len(stages), indices)
        shorter = last + 1 < len(stages)
        self.backbone.stages = stages[: last + 1]
        self.backbone.depths = self.backbone.depths[: last + 1]
        self.backbone.out_indices = (last,)
        if prune_norm or shorter:
            self.backbone.norm = None
        self.num_features = self.feature_info[last]['num_chs']
        if prune_head or shorter:
            self.reset_classifier(0, '')
        return taken

    def get_classifier(self) -> nn.Module:
        """Return the linear layer; ``nn.Identity`` if there are no classes."""
        return self.head.fc

    @check_arguments
    def reset_classifier(self, num_classes: Count, global_pool: Pooling | None = None) -> None:
        """Replace the linear layer by a new one.

        Args:
            num_classes (int): Classes; 0 for none.
            global_pool (str, optional): See :class:`Classifier`. Defaults to
                None: as it is.

        Raises:
            ValueError: If an argument is out of its range.
        """
        self.num_classes = num_classes
        self.head.reset(num_classes, global_pool, in_features=self.num_features)
        self.head_hidden_size = self.head.num_features

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Let the backward pass recompute the blocks, to save memory; the backbone's ``with_cp``."""
        for stage in self.backbone.stages:
            for block in stage.blocks:
                block.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Say how parameters form groups, for layer-wise learning rates.

        Args:
            coarse (bool): Whether a stage is a group, instead of a block.
                Defaults to False: the groups are the depths of
                ``BaseBackbone.get_layer_depth``.

        Returns:
            dict[str, Any]: Regular expressions, as timm takes them.
        """
        blocks: Any = r'^backbone\.stages\.(\d+)'
        if not coarse:  # 99999 is timm's word for the group before; a later stage's embedding comes before its blocks
            blocks = [(rf'{blocks}\.blocks\.(\d+)', None), (rf'{blocks}\.embed', (-1, 99999))]
        return dict(stem=r'^backbone\.stages\.0\.embed', blocks=blocks)

    def no_weight_decay(self) -> set[str]:
        """Name the parameters that published recipes do not decay: global tokens and positions."""
        return {name for name, _ in self.named_parameters() if any(part in name for part in NOT_DECAYED)}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep mmengine from logging how it initializes each parameter."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)
