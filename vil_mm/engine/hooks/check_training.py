"""Compare the settings of a training with the model, the data and the metrics that were built."""

from mmengine.hooks import CheckpointHook, EarlyStoppingHook, Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.runner import Runner

from ...registry import HOOKS, find_class
from ..checks.metrics import check_yields, not_yielded
from ..checks.optimizer import unmatched_keys
from ..checks.schedule import find_mismatches
from .follow_schedule import schedulers_of


@HOOKS.register_module()
class CheckTrainingHook(Hook):
    """Before the first iteration, find what would spoil a training without a word, or stop it late.

    These are schedules that do not end with the training, ``custom_keys`` of
    the optimizer that are in no parameter's name, and metrics that something
    follows, such as ``save_best``, but that the evaluator does not yield.
    """

    def before_train(self, runner: Runner) -> None:
        """Warn of schedules and ``custom_keys``, and check the metrics.

        Raises:
            ValueError: If the evaluator surely does not yield a metric that is
                followed.
        """
        for mismatch in find_mismatches(runner.cfg, len(runner.train_dataloader)):
            runner.logger.warning(f'{mismatch.what}: is this intended? Else set {", ".join(mismatch.fix)}')
        if isinstance(runner, Runner):  # not FlexibleRunner, which may rename the parameters
            warn_of_custom_keys(runner)
        for where, name in followed(runner):
            if runner.val_loop is None:
                runner.logger.warning(f'{where}={name!r} has no effect: nothing validates, as val_cfg is None')
            elif name != 'auto':
                check_yields(runner.val_loop.evaluator, where, name)

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Check that the best checkpoint can be chosen, before mmengine's hook does so.

        Raises:
            ValueError: If the metric is not there.
        """
        for hook in runner.hooks:
            for name in (hook.save_best or ()) if isinstance(hook, CheckpointHook) and metrics else ():
                if name != 'auto' and name not in metrics:
                    raise ValueError(not_yielded('save_best', name, metrics))


def followed(runner: Runner) -> list[tuple[str, str]]:
    """List the metrics that hooks and schedulers of a runner follow, and the settings that name them."""
    found = []
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            found += [('default_hooks.checkpoint.save_best', name) for name in hook.save_best or ()]
        elif isinstance(hook, EarlyStoppingHook):
            found.append(('monitor of EarlyStoppingHook', hook.monitor))
    for scheduler in schedulers_of(runner):
        if getattr(scheduler, 'need_val_args', False):
            found.append((f'monitor of {type(scheduler).__name__}', scheduler.monitor))
    return found


def warn_of_custom_keys(runner: Runner) -> None:
    """Log which ``custom_keys`` are in no parameter's name, if the optimizer's constructor looks for them."""
    wrapper = runner.cfg.get('optim_wrapper') or {}
    kind = find_class(
        wrapper.get('constructor', 'DefaultOptimWrapperConstructor'),
        OPTIM_WRAPPER_CONSTRUCTORS,
        runner.cfg.get('default_scope'),
    )
    if not isinstance(kind, type) or not issubclass(kind, DefaultOptimWrapperConstructor):
        return
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    custom_keys = (wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    for key, near in unmatched_keys(custom_keys, [name for name, _ in model.named_parameters()]).items():
        runner.logger.warning(
            f'optim_wrapper.paramwise_cfg.custom_keys: {key!r} is in no name of a parameter, so that it has no effect'
            + (f'; is it {near!r}?' if near else '')
        )
