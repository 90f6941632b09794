"""Stop a run whose loss is no number any more."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class CheckFiniteLossHook(Hook):
    """Stop the run at the first NaN or infinite loss, before a checkpoint is written.

    Every iteration is checked: the weights are spoilt by the first such loss.
    """

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of the iteration.

        Raises:
            FloatingPointError: If one is not finite; it names the iteration and the losses.
        """
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        # of the sum, so that a GPU is waited for once
        if torch.isfinite(torch.as_tensor(sum(losses.values()))):
            return
        values = ', '.join(f'{name}={float(value)}' for name, value in losses.items())
        raise FloatingPointError(
            f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): the loss is not finite: {values}. '
            'The run stops here; usual remedies are a lower learning rate, gradient clipping, or no mixed precision.'
        )
