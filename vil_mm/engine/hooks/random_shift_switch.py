"""Schedule of the random shift."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop, Runner

from ...arguments import Rate, check_arguments
from ...models.attentions import SlidingWindowAttention
from ...registry import HOOKS


@HOOKS.register_module()
class RandomShiftSwitchHook(Hook):
    """Switch off the random shift after a part of the training.

    From then on, every sliding window with ``neighbors='random'`` attends to
    its whole neighborhood.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        switch_ratio (float): The part of the training, 0 to 1. The shift is off
            from the first epoch (in iteration-based training, the first
            iteration) that begins at or after it. Defaults to 0.75.

    Raises:
        ValueError: If ``switch_ratio`` is out of its range.
    """

    @check_arguments
    def __init__(self, switch_ratio: Rate = 0.75) -> None:
        self.switch_ratio = switch_ratio

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch before an epoch, in training that counts epochs."""
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            self._switch(runner, runner.epoch, runner.max_epochs)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Switch before an iteration, in training that counts iterations."""
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            self._switch(runner, runner.iter, runner.max_iters)

    def _switch(self, runner: Runner, done: int, total: int) -> None:
        if done < self.switch_ratio * total:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        shifting = [m for m in model.modules() if isinstance(m, SlidingWindowAttention) and m.neighbors == 'random']
        for module in shifting:
            module.neighbors = 'all'
        if shifting:
            runner.logger.info(f'Random shift switched off in {len(shifting)} attentions, after {done} of {total}.')
