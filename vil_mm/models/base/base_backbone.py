"""The base of all backbones: outputs, freezing, layer depths, and checks of images and checkpoints."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Annotated

import torch
from mmcv.cnn import build_norm_layer
from mmengine.logging import MMLogger, print_log
from mmengine.model import BaseModule, ModuleList
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn

from ...arguments import NOT_EMPTY, Count, at_least, check_arguments, one_of
from ...ops import to_map
from ...registry import InitCfg, NormCfg
from ..layers import CheckpointError, Comparison, abbreviate, adapt_channels, compare, norm_tokens
from .stage import Stage

OutputNorm = Annotated[str, one_of('last', 'each')]


class BaseBackbone(BaseModule):
    """Base of the backbones: runs stages and returns their outputs.

    A family builds its stages and hands them to this class. The family's
    constructor passes on the arguments listed under Args, except for
    ``stages``, which it builds from these arguments of its own:

    * ``arch`` (str | dict): Name of an architecture in the family's
      ``arch_zoo``, or a dict with one value per stage under each key of the
      zoo's entries.
    * ``in_channels`` (int): Channels of the images. Defaults to 3.
    * ``drop_rate`` (float): Dropout rate of the embeddings, of the attentions'
      outputs and in the perceptrons, where the family has these. Defaults to 0.
    * ``drop_path_rate`` (float): Stochastic depth rate of the last block; rates
      grow linearly from 0 at the first block.
    * ``with_cp`` (bool | str): What the backward pass recomputes to save
      memory: whole blocks (True); only their perceptrons (``'ffn'``), which
      take most of the memory; or nothing (False). Defaults to False.
    * ``norm_cfg`` (dict): Config of the norms.

    Families with attentions also have:

    * ``img_size`` (int | tuple[int, int]): Height and width in pixels of the
      images that the attentions are built for. It matters only for attentions
      that work on a single grid size, such as Linformer, and for the size of
      the position parameters. Defaults to 224.
    * ``attn_cfg`` (dict | Sequence[dict | None], optional): Changes to the
      attentions. A dict with ``type`` replaces the attention of every stage; a
      dict without ``type`` changes the settings of all attentions of the
      family's own kind. A sequence has one entry per stage: a dict with
      ``type`` replaces that stage's attention, a dict without ``type`` changes
      its settings, and None leaves it as it is. Defaults to None: no changes.

    Args:
        stages (Sequence[Stage]): The stages. The grid tokens of a stage, as a
            feature map, are the input of the next stage.
        norm_cfg (dict): Config of the norms of the outputs.
        out_indices (Sequence[int], optional): Stages whose output is returned.
            Defaults to None: all. Stages after the last of them are neither run
            nor trained.
        out_type (str): What is returned for each stage. ``'featmap'``: the map
            ``(N, C, h, w)``; ``'avg_featmap'``: the mean of all tokens, global
            ones included, ``(N, C)``; ``'cls_token'``: the first global token,
            ``(N, C)``. Defaults to ``'featmap'``.
        output_norm (str, optional): ``'last'``: the output of the last stage is
            normalized; ``'each'``: every output has its own norm, ``norm0``,
            ``norm1``, ..., while the next stage takes the map before the norm;
            None: there are no norms. Defaults to ``'last'``.
        frozen_stages (int): Stages up to this index are frozen, with the norms
            of their outputs. Defaults to -1: none.
        norm_eval (bool): Whether batch norms stay in evaluation mode. Defaults
            to False.
        init_cfg (dict | Sequence[dict], optional): As in mmengine. Defaults to
            truncated normal weights and zero biases of linear layers, except
            for those that initialize themselves; convolutions are initialized
            as in PyTorch.

    Raises:
        ValueError: If an argument is out of its range.
    """

    #: Names of tensors that every checkpoint of the family holds, while no checkpoint of another family holds them all.
    entries: tuple[str, ...]
    #: How names in the family's published files begin, and the tool that converts them; None: there are no such files.
    published_entry: str | None = None
    converter: str | None = None

    @check_arguments
    def __init__(
        self,
        stages: Annotated[Sequence[Stage], NOT_EMPTY],
        *,
        norm_cfg: NormCfg,
        out_indices: Sequence[Count] | None = None,
        out_type: Annotated[str, one_of('featmap', 'avg_featmap', 'cls_token')] = 'featmap',
        output_norm: OutputNorm | None = 'last',
        frozen_stages: Annotated[int, at_least(-1)] = -1,
        norm_eval: bool = False,
        init_cfg: InitCfg | Sequence[InitCfg] | None = (
            dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
            dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
        ),
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        num_stages = len(stages)
        if out_indices is None:
            out_indices = range(num_stages)
        if not out_indices or max(out_indices) >= num_stages:
            raise ValueError(f'out_indices={out_indices} must name stages, 0 to {num_stages - 1}')
        num_global_tokens = [stage.embed.num_global_tokens for stage in stages]
        if out_type == 'cls_token' and not all(num_global_tokens[i] for i in out_indices):
            raise ValueError(
                f"out_type='cls_token' needs global tokens in the stages out_indices={out_indices}, "
                f"but they have num_global_tokens={num_global_tokens}; use 'avg_featmap'"
            )
        if frozen_stages >= num_stages:
            raise ValueError(f'frozen_stages={frozen_stages} must be -1 to {num_stages - 1}')
        self.stages = ModuleList(stages)
        self.depths = [len(stage.blocks) for stage in stages]
        self.out_indices = out_indices
        self.out_type = out_type
        self.output_norm = output_norm
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self._warned = False

        self.norm = None
        if output_norm == 'last':
            self.norm = build_norm_layer(norm_cfg, stages[-1].embed.embed_dims)[1]
        elif output_norm == 'each':
            for i in out_indices:
                self.add_module(f'norm{i}', build_norm_layer(norm_cfg, stages[i].embed.embed_dims)[1])
        last = max(out_indices)
        for unused in (*self.stages[last + 1 :], self.norm if last + 1 < num_stages else None):
            if unused is not None:
                unused.requires_grad_(False)  # DDP waits for the gradients of all that require them
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            x (Tensor): ``(N, in_channels, H, W)``; H and W must be at least the
                patch size of the first stage.

        Returns:
            tuple[Tensor, ...]: One output per stage of ``out_indices``, as
            ``out_type`` says.

        Raises:
            ValueError: If ``x`` does not have four dimensions, or is too small.
        """
        self.check_images(x)
        if self.out_type == 'featmap' and len(self.out_indices) > 1:
            self._warn_of_partial_patches(*x.shape[-2:])
        outputs = []
        for i, stage in enumerate(self.stages[: max(self.out_indices) + 1]):
            tokens, hw_shape = stage(x)
            if i in self.out_indices:
                outputs.append(self._output(tokens, hw_shape, i))
            x = self._to_map(tokens, hw_shape, i)
        return tuple(outputs)

    def check_images(self, x: Tensor) -> None:
        """Raise a ValueError unless images have four dimensions, and are at least one patch high and wide."""
        patch_size = self.stages[0].embed.stride
        if x.ndim != 4:
            raise ValueError(f'the images have shape {tuple(x.shape)}, must be (N, C, H, W)')
        if min(x.shape[-2:]) < patch_size:
            raise ValueError(
                f'the image has size {tuple(x.shape[-2:])}, must be at least one patch, {(patch_size,) * 2}'
            )

    def _warn_of_partial_patches(self, height: int, width: int) -> None:
        """Warn once if the maps of different stages will not show the same part of the image."""
        if torch.compiler.is_compiling() or self._warned:  # in this order, graphs do not depend on the warning
            return
        stride = math.prod(stage.embed.stride for stage in self.stages[: max(self.out_indices) + 1])
        if not (height % stride or width % stride):
            return
        self._warned = True
        MMLogger.get_current_instance().warning(
            f'the maps of different stages show different parts of a {height}x{width} image, which costs segmenters '
            f'accuracy: pad it by the data_preprocessor, in mmdetection with pad_size_divisor={stride}, in '
            f'mmsegmentation with test_cfg=dict(size_divisor={stride})'
        )

    def _to_map(self, tokens: Tensor, hw_shape: tuple[int, int], stage: int) -> Tensor:
        return to_map(tokens[:, self.stages[stage].embed.num_global_tokens :], hw_shape)

    def _output(self, tokens: Tensor, hw_shape: tuple[int, int], stage: int) -> Tensor:
        norm = self._norm_of(stage)
        if norm is not None:
            tokens = norm_tokens(norm, tokens)
        if self.out_type == 'featmap':
            return self._to_map(tokens, hw_shape, stage).contiguous()
        return tokens.mean(dim=1) if self.out_type == 'avg_featmap' else tokens[:, 0]

    def _norm_of(self, stage: int) -> nn.Module | None:
        """Find the norm of a stage's output, if it has one."""
        if self.output_norm == 'each':
            return getattr(self, f'norm{stage}', None)
        return self.norm if stage == len(self.stages) - 1 else None

    def train(self, mode: bool = True) -> 'BaseBackbone':
        """Set the mode. Frozen stages, and batch norms with ``norm_eval``, stay in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze_stages(self) -> None:
        for i, stage in enumerate(self.stages[: self.frozen_stages + 1]):
            for module in (stage, self._norm_of(i)):
                if module is not None:
                    module.eval()
                    module.requires_grad_(False)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Find the depth of a parameter, for layer-wise learning-rate decay.

        The first stage's embedding has depth 0, and block ``k`` (counted from 1
        over all stages) depth ``k``. The embedding of a later stage has the
        depth of the block before it. Everything after the blocks has the
        largest depth.

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

    def init_weights(self) -> None:
        """Initialize as ``init_cfg`` says.

        Raises:
            CheckpointError: If it names a file that does not fit.
        """
        try:
            super().init_weights()
        except CheckpointError as error:
            raise CheckpointError(f'init_cfg={self.init_cfg}: {error}') from error

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        comparison = self.check_checkpoint(state_dict, prefix)
        if comparison and not prefix:  # loaded on its own, not within a model, whose loading others report
            print_log(f'{type(self).__name__}: {comparison}', logger='current')
        adapted = self.adapt_channels(state_dict, prefix)
        for name, weight in list(adapted.items())[:1]:  # one line for all
            theirs, ours = state_dict[name].shape[1], weight.shape[1]
            how = 'summed' if ours == 1 else f'repeated and multiplied by {theirs}/{ours}'
            print_log(
                f'{type(self).__name__}: the checkpoint is for images of {theirs} channels, the model for {ours}: '
                f'{abbreviate(list(adapted))} are {how} over the channels',
                logger='current',
            )
        state_dict.update(adapted)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def adapt_channels(self, state_dict: Mapping[str, Tensor], prefix: str = '') -> dict[str, Tensor]:
        """Adapt a checkpoint's weights for images with another number of channels.

        Args:
            state_dict (Mapping[str, Tensor]): The checkpoint's tensors by name.
            prefix (str): What precedes the backbone's names in the checkpoint.
                Defaults to ''.

        Returns:
            dict[str, Tensor]: The adapted weights by name; see
            :func:`~vil_mm.models.layers.adapt_channels`.
        """
        return adapt_channels(self.stages[0].embed, state_dict, f'{prefix}stages.0.embed.')

    def check_checkpoint(self, state_dict: Mapping[str, Tensor], prefix: str = '') -> Comparison | None:
        """Refuse a checkpoint of another family, and one that would leave most parameters as they are.

        Args:
            state_dict (Mapping[str, Tensor]): The checkpoint's tensors by name.
            prefix (str): What precedes the backbone's names in the checkpoint.
                Defaults to ''.

        Returns:
            Comparison | None: How it fits; None if it holds no name with the
            prefix, or if the backbone is sharded.

        Raises:
            CheckpointError: If it holds less than half of the parameters.
        """
        names = [name.removeprefix(prefix) for name in state_dict if name.startswith(prefix)]
        if not names:
            return None
        missing = [entry for entry in self.entries if entry not in names]
        if missing:
            raise CheckpointError(self._explain_foreign(names, missing[0]))
        if any('_fsdp_wrapped_module' in name for name, _ in self.named_modules()):
            return None  # shards have other names and shapes
        comparison = compare(self, state_dict, prefix)
        found = {*comparison.fitting, *comparison.resized}
        sizes = {prefix + name: parameter.numel() for name, parameter in self.named_parameters()}
        loaded, total = sum(size for name, size in sizes.items() if name in found), sum(sizes.values())
        if 2 * loaded < total:
            raise CheckpointError(
                f'the checkpoint has only {loaded / total:.0%} of the parameters of {type(self).__name__}, less than '
                f'half: {comparison}'
            )
        return comparison

    def _explain_foreign(self, names: Sequence[str], missing: str) -> str:
        """Explain why a checkpoint with these names, which lack ``missing``, does not belong to this family."""
        holder = next((name.removesuffix(missing) for name in names if name.endswith(missing)), None)
        if holder is not None:
            advice = f'Its names begin with {holder!r}: load it with prefix={holder!r}.'
        elif self.published_entry and any(
            re.match(rf'(module\.)?(backbone\.)?{re.escape(self.published_entry)}', name) for name in names
        ):
            advice = f'It is a published file: convert it with {self.converter}.'
        elif set(names) <= set(self.state_dict()):
            advice = 'It is incomplete.'
        else:
            advice = 'It is of another model family.'
        return f'the checkpoint does not hold {missing!r} of {type(self).__name__}, but {list(names[:3])}. {advice}'
