"""Schedule of Performer's random features."""

from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from ...arguments import Count, check_arguments
from ...models.attentions import PerformerAttention
from ...registry import HOOKS

#: Key in the run's message hub, which is saved and resumed with the run.
COUNTER = 'iterations_since_performer_redraw'


@HOOKS.register_module()
class PerformerRedrawHook(Hook):
    """Redraw the random directions of all Performer attentions, less and less often.

    In epoch ``e``, counted from 0, each redraw follows ``first + growth * e``
    iterations without one, as published. All processes use the directions that
    the first process draws.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        first (int): Iterations between redraws in the first epoch. Defaults to
            1.
        growth (int): By how many these grow with each epoch. Defaults to 5.

    Raises:
        ValueError: If an argument is negative.
    """

    @check_arguments
    def __init__(self, first: Count = 1, growth: Count = 5) -> None:
        self.first = first
        self.growth = growth

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict | None = None) -> None:
        """Redraw if it is due."""
        count = runner.message_hub.get_info(COUNTER, 0)
        epoch = runner.iter // len(runner.train_dataloader)  # also in loops that count iterations
        due = count >= self.first + self.growth * epoch
        runner.message_hub.update_info(COUNTER, 0 if due else count + 1)
        if not due:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for module in model.modules():
            if isinstance(module, PerformerAttention):
                module.redraw()
                broadcast(module.projection_matrix)
