"""The schedule of a resumed run."""

import math
import warnings
from pathlib import Path

from mmengine.hooks import CheckpointHook, Hook
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import IterBasedTrainLoop, Runner

from ...models.layers import CheckpointError
from ...registry import HOOKS, nested_dicts
from ..other_model import check_model
from ..sharding import FullyShardStrategy

#: What changes in a scheduler as it steps.
POSITION = ('last_step', '_global_step', '_last_value')


@HOOKS.register_module()
class FollowScheduleHook(Hook):
    """Make a resumed run follow the schedule of its config, whatever the run before it followed.

    mmengine takes the schedulers and the count of iterations from the
    checkpoint. They are wrong if an epoch now has a different number of
    iterations, because the batch size, the number of processes or the data
    changed, or if the config has a different schedule. Then this hook steps the
    config's schedulers up to the checkpoint's epoch, so that each learning rate
    is that of a run which had this config from the beginning. Iteration-based
    training continues at the checkpoint's iteration, whatever the batch size,
    because its schedule counts iterations too.

    Other optimizer settings that the config names, such as the weight decay,
    are also taken from the config.
    """

    # before EMAHook loads a checkpoint's averages, whose errors are those of PyTorch
    priority = 'ABOVE_NORMAL'

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Save what the schedule depends on beside the config."""
        checkpoint['meta'].update(epoch_length=len(runner.train_dataloader), batch=batch_of(runner))

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Adapt the loaded checkpoint, in place, before the run resumes from it.

        Raises:
            ValueError: If the checkpoint holds no state of a run or is of
                another model or past the end of training, or if the schedule
                cannot be recomputed.
        """
        if not runner._resume:
            return
        by_iter = isinstance(runner.train_loop, IterBasedTrainLoop)
        # mmengine would run it as code
        (checkpoint.get('meta') or {}).pop('config', None)
        check_state(runner, checkpoint, by_iter)
        check_optimizer(runner, checkpoint)
        keep_best_of_other_runs(runner, checkpoint)
        warn_of_batch(runner, checkpoint['meta'], by_iter)
        recomputed = recompute(runner, checkpoint, by_iter)
        if not is_whole(runner):
            return
        check_model(runner, checkpoint)
        names = {key for part in nested_dicts(runner.cfg.get('optim_wrapper')) for key in part}
        scheduled = {name for s in schedulers_of(runner) for name in (s.param_name, f'initial_{s.param_name}')}
        take_settings(
            runner.optim_wrapper, checkpoint['optimizer'], names | scheduled if recomputed else names - scheduled
        )


def check_state(runner: Runner, checkpoint: dict, by_iter: bool) -> None:
    """Check that a checkpoint holds the state of a run that has not ended.

    Raises:
        CheckpointError: If it lacks a part or is past the end of training.
    """
    meta = checkpoint.get('meta') or {}
    lacks = [name for name in ('epoch', 'iter') if meta.get(name) is None]
    lacks += [name for name in ('optimizer', 'message_hub') if checkpoint.get(name) is None]
    if lacks:
        raise CheckpointError(
            f'{runner._load_from} cannot be resumed, because it lacks {", ".join(lacks)}, like all converted files and '
            'best_*.pth. To start a new run from its weights, set load_from'
        )
    done, end, unit = meta['epoch'], runner.max_epochs, 'epochs'
    if by_iter:
        done, end, unit = meta['iter'], runner.max_iters, 'iterations'
    if done > end:
        raise CheckpointError(
            f'{runner._load_from} has {done} {unit}, but train_cfg ends after {end}: set a later end, or resume '
            'another checkpoint'
        )
    if done == end:
        runner.logger.warning(f'{runner._load_from} has all {end} {unit} of train_cfg: there is nothing left to train')


def check_optimizer(runner: Runner, checkpoint: dict) -> None:
    """Check that a checkpoint was written by an optimizer of the same kind, if there is just one.

    Raises:
        ValueError: If each of the two has settings that the other lacks.
    """
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        return
    groups = checkpoint['optimizer'].get('param_groups')
    if not groups:
        raise CheckpointError(f'{runner._load_from} cannot be resumed: its optimizer has no param_groups')
    own, saved = set(runner.optim_wrapper.param_groups[0]), set(groups[0])
    if own - saved and saved - own:
        raise CheckpointError(
            f'{runner._load_from} cannot be resumed, because it is of another optimizer, with {sorted(saved - own)} '
            f'instead of {sorted(own - saved)}. To start a new run from its weights, set load_from'
        )


def recompute(runner: Runner, checkpoint: dict, by_iter: bool) -> bool:
    """Replace a checkpoint's schedule, in place, unless it already matches the config's at the same iteration.

    Returns:
        bool: Whether it was replaced.

    Raises:
        ValueError: If the iteration changes, but the schedule depends on more
            than the iteration.
    """
    meta, length, schedulers = checkpoint['meta'], len(runner.train_dataloader), schedulers_of(runner)
    goes_on = by_iter or meta.get('epoch_length') == length
    iteration = meta['iter'] if goes_on else meta['epoch'] * length
    saved = checkpoint.get('param_schedulers') or []
    saved = [state for states in saved.values() for state in states] if isinstance(saved, dict) else saved
    same = [settings(s.state_dict()) for s in schedulers] == [settings(state) for state in saved]
    fixed = [type(s).__name__ for s in schedulers if getattr(s, 'need_val_args', False)]
    if not is_whole(runner):
        fixed.append(type(runner).__name__)
    if iteration == meta['iter'] and (same or fixed):
        return False
    change = (
        f'{runner._load_from} was written at iteration {meta["iter"]}, after {meta["epoch"]} epochs. The run goes on '
        f'at iteration {iteration}, with {length} iterations per epoch'
    )
    if fixed:
        raise ValueError(
            f'{change}, and the schedule with {fixed[0]} cannot be recomputed. Resume with the batch size, number of '
            'processes and data that the run had'
        )
    runner.logger.warning(f'{change} and the schedule of the config')
    meta['iter'] = iteration
    with warnings.catch_warnings():
        # that schedulers step, but not the optimizer
        warnings.simplefilter('ignore', UserWarning)
        for i in range(1, iteration + 1):
            for scheduler in schedulers:
                if not scheduler.by_epoch:
                    scheduler.step()
            if not by_iter and i % length == 0:
                for scheduler in schedulers:
                    if scheduler.by_epoch:
                        scheduler.step()
    groups = runner.param_schedulers or []
    checkpoint['param_schedulers'] = (
        {name: [s.state_dict() for s in group] for name, group in groups.items()}
        if isinstance(groups, dict)
        else [s.state_dict() for s in groups]
    )
    return True


def is_whole(runner: Runner) -> bool:
    """Tell whether a runner's checkpoints hold all of the model and the optimizer, not the shard of a process."""
    return isinstance(runner, Runner) or isinstance(getattr(runner, 'strategy', None), FullyShardStrategy)


def batch_of(runner: Runner) -> tuple[int, int, int]:
    """Count the processes, the images per process and iteration, and the iterations per step of the optimizer."""
    loader = runner.train_dataloader
    per_process = loader.batch_size or getattr(loader.batch_sampler, 'batch_size', 1)
    return runner.world_size, per_process, getattr(runner.optim_wrapper, '_accumulative_counts', 1)


def warn_of_batch(runner: Runner, meta: dict, by_iter: bool) -> None:
    """Say what another number of processes or another batch size does to the schedule."""
    before, now = tuple(meta.get('batch') or batch_of(runner)), batch_of(runner)
    if before == now:
        return
    images, of_before = math.prod(now), math.prod(before)
    words = [f'{b[0]} processes x {b[1]} images' + f' x {b[2]} accumulated' * (b[2] > 1) for b in (before, now)]
    length = 'Training ends at the same iteration' if by_iter else 'Training ends at the same epoch'
    effect = f'{length}, and learning rates follow the config, as if all steps had had {images} images'
    if images != of_before:
        effect += f'; the rule of thumb is to scale them by {images / of_before:g}, see --auto-scale-lr'
    runner.logger.warning(
        f'{runner._load_from} is of a run with {of_before} images per step ({words[0]}). The run goes on with {images} '
        f'({words[1]}). {effect}'
    )


def schedulers_of(runner: Runner) -> list:
    """List a runner's schedulers for all of its optimizers."""
    schedulers = runner.param_schedulers or []
    return [s for group in schedulers.values() for s in group] if isinstance(schedulers, dict) else schedulers


def settings(state: dict) -> dict:
    """Return a scheduler's state without the entries that change as it steps."""
    return {name: value for name, value in state.items() if name not in POSITION}


def take_settings(wrapper: OptimWrapper | OptimWrapperDict, state: dict, names: set[str]) -> None:
    """Copy the settings listed in ``names`` from an optimizer's parameter groups to a saved state, in place."""
    if isinstance(wrapper, OptimWrapperDict):
        for name, one in wrapper.items():
            take_settings(one, state[name], names)
        return
    base = state.get('base_param_settings')
    for group, saved in zip(wrapper.param_groups, [*state['param_groups'], *([base] if base else [])]):
        saved.update({name: value for name, value in group.items() if name in names})


def keep_best_of_other_runs(runner: Runner, checkpoint: dict) -> None:
    """Forget the path of the best checkpoint if it is in another folder, since mmengine would delete the file there."""
    hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
    work_dir = Path(runner.work_dir)
    folder = Path(hook.out_dir, work_dir.name) if hook is not None and hook.out_dir else work_dir
    info = checkpoint['message_hub'].get('runtime_info', {})
    for name in [name for name in info if name.startswith('best_ckpt')]:
        if info[name] and Path(info[name]).resolve().parent != folder.resolve():
            del info[name]
