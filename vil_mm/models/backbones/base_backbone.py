"""What all backbones share: outputs, freezing, layer depths, and checks of images and checkpoints."""

import re
from collections.abc import Sequence
from itertools import accumulate

from mmcv.cnn import build_norm_layer
from mmengine.model import BaseModule
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn


class BaseBackbone(BaseModule):
    """Base of the backbones, each a list ``stages`` of stages with a list ``blocks`` of blocks.

    A subclass builds ``stages`` and then calls :meth:`finish`. A stage takes a
    feature map ``(N, C, H, W)`` and returns tokens ``(N, G + h * w, C')``,
    global ones first, and the grid ``(h, w)``; its grid tokens are the next
    stage's feature map.

    Args:
        depths (Sequence[int]): Blocks of each stage.
        num_global_tokens (Sequence[int]): Global tokens of each stage.
        out_indices (Sequence[int], optional): Stages whose output is returned.
            None: all. Stages after the last of them are neither run nor trained.
        out_type (str): What is returned of a stage. ``'featmap'``: the map
            ``(N, C, h, w)``; ``'avg_featmap'``: the mean of all tokens, global
            ones included, ``(N, C)``; ``'cls_token'``: the first global token,
            ``(N, C)``.
        output_norm (str, optional): ``'last'``: the output of the last stage is
            normed, as in classifiers; ``'each'``: every output has a norm of
            its own, ``norm0``, ``norm1``, ..., and the next stage takes what
            was not normed; None: none is.
        frozen_stages (int): Stages up to this index are frozen, with the norms
            of their outputs; -1: none.
        norm_eval (bool): Whether batch norms stay in evaluation mode.
        init_cfg (dict | list[dict], optional): As in mmengine.

    Raises:
        ValueError: If an argument is out of its range.
    """

    #: A tensor that every checkpoint of the family holds, and none of another.
    entry: str
    #: What the names of the family's published files begin with, and the tool that converts them.
    published_entry: str
    converter: str

    stages: nn.ModuleList

    def __init__(
        self,
        depths: Sequence[int],
        num_global_tokens: Sequence[int],
        out_indices: Sequence[int] | None,
        out_type: str,
        output_norm: str | None,
        frozen_stages: int,
        norm_eval: bool,
        init_cfg: dict | Sequence[dict] | None,
    ) -> None:
        super().__init__(list(init_cfg) if isinstance(init_cfg, tuple) else init_cfg)
        num_stages = len(depths)
        if out_indices is None:
            out_indices = range(num_stages)
        if (
            not isinstance(out_indices, Sequence)
            or not out_indices
            or not all(0 <= i < num_stages for i in out_indices)
        ):
            raise ValueError(f'out_indices={out_indices} must name stages, 0 to {num_stages - 1}')
        if out_type not in ('featmap', 'avg_featmap', 'cls_token'):
            raise ValueError(f"out_type={out_type!r} is not one of 'featmap', 'avg_featmap', 'cls_token'")
        if out_type == 'cls_token' and not all(num_global_tokens[i] for i in out_indices):
            raise ValueError(
                f"out_type='cls_token' needs global tokens in the stages out_indices={out_indices}, "
                f"but they have num_global_tokens={list(num_global_tokens)}; use 'avg_featmap'"
            )
        if output_norm not in ('last', 'each', None):
            raise ValueError(f"output_norm={output_norm!r} is not one of 'last', 'each', None")
        if not -1 <= frozen_stages < num_stages:
            raise ValueError(f'frozen_stages={frozen_stages} must be -1 to {num_stages - 1}')
        self.depths = depths
        self.num_global_tokens = num_global_tokens
        self.out_indices = out_indices
        self.out_type = out_type
        self.output_norm = output_norm
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

    def finish(self, norm_cfg: dict, embed_dims: Sequence[int], min_size: tuple[int, int]) -> None:
        """Add the norms of the outputs, and freeze what is to be frozen; ``stages`` are there.

        Args:
            norm_cfg (dict): Config of the norms.
            embed_dims (Sequence[int]): Channels of each stage.
            min_size (tuple[int, int]): Height and width of the smallest image
                that the backbone takes, in pixels.
        """
        self.min_size = min_size
        self.norm = None
        if self.output_norm == 'last':
            self.norm = build_norm_layer(norm_cfg, embed_dims[-1])[1]
        elif self.output_norm == 'each':
            for i in self.out_indices:
                self.add_module(f'norm{i}', build_norm_layer(norm_cfg, embed_dims[i])[1])
        last = max(self.out_indices)
        for unused in (*self.stages[last + 1 :], self.norm if last + 1 < len(self.stages) else None):
            if unused is not None:
                unused.requires_grad_(False)  # DDP waits for the gradients of all that has them
        self._freeze_stages()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Encode images.

        Args:
            x (Tensor): ``(N, in_channels, H, W)``.

        Returns:
            tuple[Tensor, ...]: One output per stage of ``out_indices``, as
            ``out_type`` says.

        Raises:
            ValueError: If ``x`` has no four dimensions, or is smaller than
                ``min_size``.
        """
        if x.ndim != 4:
            raise ValueError(f'the images have shape {tuple(x.shape)}, must be (N, C, H, W)')
        if x.shape[-2] < self.min_size[0] or x.shape[-1] < self.min_size[1]:
            raise ValueError(f'the image has size {tuple(x.shape[-2:])}, must be at least one patch, {self.min_size}')
        outputs = []
        for i, stage in enumerate(self.stages[: max(self.out_indices) + 1]):
            tokens, hw_shape = stage(x)
            if i in self.out_indices:
                outputs.append(self._output(tokens, hw_shape, i))
            x = self._to_map(tokens, hw_shape, i)
        return tuple(outputs)

    def _to_map(self, tokens: Tensor, hw_shape: tuple[int, int], stage: int) -> Tensor:
        return tokens[:, self.num_global_tokens[stage] :].mT.unflatten(2, hw_shape)

    def _output(self, tokens: Tensor, hw_shape: tuple[int, int], stage: int) -> Tensor:
        norm = self._norm_of(stage)
        if norm is not None:
            tokens = norm(tokens) if isinstance(norm, nn.LayerNorm) else _norm_channels(norm, tokens)
        if self.out_type == 'featmap':
            return self._to_map(tokens, hw_shape, stage).contiguous()
        return tokens.mean(dim=1) if self.out_type == 'avg_featmap' else tokens[:, 0]

    def _norm_of(self, stage: int) -> nn.Module | None:
        """The norm of a stage's output, if it has one."""
        if self.output_norm == 'each':
            return getattr(self, f'norm{stage}', None)
        return self.norm if stage == len(self.stages) - 1 else None

    def train(self, mode: bool = True) -> 'BaseBackbone':
        """Set the mode; frozen stages, and with ``norm_eval`` batch norms, stay in evaluation mode."""
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
        """Depth of a parameter, for layer-wise learning-rate decay.

        The first stage's embedding has depth 0, block ``k`` (1-based, counted
        over all stages) depth ``k``; what comes before a later stage's blocks
        goes with the block before it; all that follows the blocks comes last.

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
        if names and self.entry not in names:
            raise ValueError(self._explain_foreign(names))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def _explain_foreign(self, names: Sequence[str]) -> str:
        """Say why tensors of these names are not those of this family."""
        holder = next((name.removesuffix(self.entry) for name in names if name.endswith(self.entry)), None)
        if holder is not None:
            advice = f'Its names begin with {holder!r}: load it with prefix={holder!r}.'
        elif any(re.match(rf'(module\.)?(backbone\.)?{re.escape(self.published_entry)}', name) for name in names):
            advice = f'It is a published file: convert it with {self.converter}.'
        elif set(names) <= set(self.state_dict()):
            advice = 'It is incomplete.'
        else:
            advice = 'It is of another model family.'
        return (
            f'the checkpoint does not hold {self.entry!r} of {type(self).__name__}, but such as {list(names[:3])}. '
            f'{advice}'
        )


def _norm_channels(norm: nn.Module, tokens: Tensor) -> Tensor:
    """Apply a norm of maps ``(N, C, H, W)`` to tokens ``(N, L, C)``, as a map one pixel wide.

    Made as ``tokens.mT[..., None]``, that map has strides with which PyTorch's
    batch norm on the CPU returns wrong gradients (seen in 2.13).
    """
    return norm(tokens[:, :, None].permute(0, 3, 1, 2))[..., 0].mT
