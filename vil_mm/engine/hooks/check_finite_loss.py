"""Stop a run when its loss is NaN or infinite."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from ...registry import HOOKS


@HOOKS.register_module()
class CheckFiniteLossHook(Hook):
    """Stop the run at the first NaN or infinite loss, before a checkpoint is written.

    Every iteration is checked, because the first such loss spoils the weights.
    """

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | None = None, outputs: dict | None = None
    ) -> None:
        """Check the losses of the iteration.

        Raises:
            FloatingPointError: If one is not finite. The message names the
                iteration and the losses.
        """
        losses = {name: value for name, value in (outputs or {}).items() if 'loss' in name}
        # the sum, so that a GPU is waited for only once
        if torch.isfinite(torch.as_tensor(sum(losses.values()))):
            return
        values = ', '.join(f'{name}={float(value)}' for name, value in losses.items())
        raise FloatingPointError(
            f'iteration {runner.iter + 1} (epoch {runner.epoch + 1}): the loss is not finite: {values}. '
            'The run stops here. A lower learning rate, gradient clipping or float32 training may help.'
        )
