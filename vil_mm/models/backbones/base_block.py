"""What the blocks of all backbones share: recomputing, and the perceptron."""

from contextlib import nullcontext

from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule
from mmengine.utils.dl_utils.parrots_wrapper import _BatchNorm
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

MLP_RATIO = 4


class BaseBlock(BaseModule):
    """Base of the blocks; a subclass computes in ``_forward``.

    A recomputed block does not update running statistics of its batch norms a
    second time.

    Args:
        with_cp (bool): Whether the block is recomputed in the backward pass,
            which keeps its input alone.

    Raises:
        ValueError: If ``with_cp`` is none of ``with_cp_choices``.
    """

    with_cp_choices = (True, False)

    def __init__(self, with_cp: bool) -> None:
        super().__init__()
        if with_cp not in self.with_cp_choices:
            raise ValueError(f'with_cp={with_cp!r} is not one of {", ".join(map(repr, self.with_cp_choices))}')
        self.with_cp = with_cp

    def forward(self, x: Tensor, *args) -> Tensor:
        """Transform tokens, or a map, as the subclass's ``_forward`` does."""
        if self.with_cp is True and x.requires_grad:
            contexts = nullcontext(), _UntrackedStatistics(self)
            return checkpoint(self._forward, x, *args, use_reentrant=False, context_fn=lambda: contexts)
        return self._forward(x, *args)


def build_ffn(embed_dims: int, drop_rate: float, drop_path_rate: float) -> FFN:
    """Build a block's perceptron, residual, four times as wide inside, with GELU.

    Args:
        embed_dims (int): Channels.
        drop_rate (float): Dropout rate after both layers.
        drop_path_rate (float): Stochastic depth rate.
    """
    return FFN(
        embed_dims,
        MLP_RATIO * embed_dims,
        act_cfg=dict(type='GELU'),
        ffn_drop=drop_rate,
        dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
    )


class _UntrackedStatistics:
    """A context where a module's batch norms normalize as they do, without changing their statistics."""

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
