"""The base of all blocks: residual mixing of tokens, a perceptron, and recomputation."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

from mmcv.cnn import build_norm_layer
from mmcv.cnn.bricks import DropPath
from mmengine.model import BaseModule
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...arguments import DropPathRate, Rate, Size, check_arguments, one_of
from ...registry import NormCfg
from ..layers import MLP, norm_tokens

#: Hidden channels of a perceptron per channel of its tokens.
MLP_RATIO = 4
Recomputed = bool | Annotated[str, one_of('ffn')]


class BaseBlock(BaseModule):
    """Base of the blocks: mixes tokens, then applies a pre-norm, residual perceptron to each.

    A subclass implements the mixing in :meth:`mix_tokens`, and builds what that
    needs, such as a first norm.

    Args:
        embed_dims (int): Channels.
        norm_cfg (dict): Config of the norms.
        drop_rate (float): Dropout rate in the perceptron. Defaults to 0.
        drop_path_rate (float): Stochastic depth rate of all residual branches,
            which are dropped independently. Defaults to 0.
        with_cp (bool | str): What the backward pass recomputes to save memory:
            the block (True), only its perceptron (``'ffn'``), or nothing
            (False). Recomputation does not update the running statistics of
            batch norms a second time. Defaults to False.

    Raises:
        ValueError: If an argument is out of its range.
    """

    #: Name of the norm before the perceptron.
    ffn_norm = 'norm2'

    @check_arguments
    def __init__(
        self,
        *,
        embed_dims: Size,
        norm_cfg: NormCfg,
        drop_rate: Rate = 0.0,
        drop_path_rate: DropPathRate = 0.0,
        with_cp: Recomputed = False,
    ) -> None:
        super().__init__()
        self.with_cp = with_cp
        self.drop_path = DropPath(drop_path_rate)
        self.add_module(self.ffn_norm, build_norm_layer(norm_cfg, embed_dims)[1])
        self.ffn = MLP(embed_dims, MLP_RATIO * embed_dims, drop_rate, drop_path_rate)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Transform tokens ``(N, G + h * w, C)`` of a grid ``(h, w)``, keeping their shape."""
        if self.with_cp is True and x.requires_grad:
            return self._recompute(self._transform, x, hw_shape)
        return self._transform(x, hw_shape)

    def mix_tokens(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Let tokens exchange what they hold.

        Args:
            x (Tensor): ``(N, G + h * w, C)``.
            hw_shape (tuple[int, int]): The grid ``(h, w)``.

        Returns:
            Tensor: Same shape: ``x`` plus ``self.drop_path`` of what is mixed in.
        """
        raise NotImplementedError

    def _transform(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        x = self.mix_tokens(x, hw_shape)
        if self.with_cp == 'ffn' and x.requires_grad:
            return self._recompute(self._perceive, x)
        return self._perceive(x)

    def _perceive(self, x: Tensor) -> Tensor:
        return self.ffn(norm_tokens(getattr(self, self.ffn_norm), x), identity=x)

    def _recompute(self, function: Callable[..., Tensor], *args) -> Tensor:
        contexts = nullcontext(), _FrozenStatistics(self)
        return checkpoint(function, *args, use_reentrant=False, context_fn=lambda: contexts)


class _FrozenStatistics:
    """A context in which a module's batch norms normalize as before but keep their running statistics."""

    def __init__(self, module: nn.Module) -> None:
        self.norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]

    def __enter__(self) -> None:
        self.before = [(norm, norm.momentum, norm.num_batches_tracked.clone()) for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0

    def __exit__(self, *error) -> None:
        for norm, momentum, count in self.before:
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)
