"""From the command line of ``tools/train.py`` and ``tools/test.py`` to a runner."""

import argparse
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import torch.distributed
from mmcv.ops import SyncBatchNorm
from mmengine.config import Config
from mmengine.device import is_cuda_available
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.logging import print_log
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.registry import HOOKS, MODELS, OPTIM_WRAPPERS, PARAM_SCHEDULERS, RUNNERS, STRATEGIES
from mmengine.runner import Runner

from .._extras import EXTRAS, require
from ..arguments import Name, check_arguments, one_of
from ..models.layers import CheckpointError
from ..registry import advise, find_class, nested_dicts
from .checkpoint import use_safe_checkpoint_loading
from .checks.types import explain
from .hooks import (
    CheckClassesHook,
    CheckFiniteLossHook,
    CheckImagesHook,
    CheckLabelsHook,
    CheckParametersHook,
    CheckTrainingHook,
    ExactResumeHook,
    FollowScheduleHook,
    StopOnSignalHook,
)
from .optimizers import CPUAmpOptimWrapper
from .options import refuse_roi_align
from .overrides import add_override_argument, override
from .sharding import FullyShardStrategy

SYNCHRONIZED_NORMS = (torch.nn.SyncBatchNorm, SyncBatchNorm)
#: Hooks of every run.
SAFEGUARDS = (
    CheckClassesHook,
    CheckFiniteLossHook,
    CheckImagesHook,
    CheckLabelsHook,
    CheckParametersHook,
    CheckTrainingHook,
    ExactResumeHook,
    FollowScheduleHook,
    StopOnSignalHook,
)


@check_arguments
def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all tools have."""
    parser.add_argument('--work-dir', help='folder of logs and checkpoints (default: work_dirs/<config name>)')
    add_override_argument(parser)
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument(
        '--skip-data-checks',
        action='store_true',
        help='start at once, and give up finding before the run what would stop it late or spoil its result: missing '
        'or damaged files, labels that mean other classes, boxes and label maps that do not fit their images',
    )
    # passed by the launcher, which also sets the environment variable that is read
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


@check_arguments
def run(main: Callable[[], None]) -> None:
    """Run a command; a checkpoint that cannot be used, or a missing file, ends it with a message of one line.

    Args:
        main (Callable[[], None]): The command.

    Raises:
        SystemExit: With that message.
    """
    try:
        main()
    except (CheckpointError, FileNotFoundError) as error:
        raise SystemExit(f'error: {error}') from error


@check_arguments
def load_config(
    path: Name | Path,
    work_dir: Name | None,
    launcher: Annotated[str, one_of('none', 'pytorch', 'slurm', 'mpi')],
    cfg_options: dict | None,
) -> Config:
    """Read a config and apply the options that all tools have.

    Args:
        path (str): The config file. Its ``default_scope`` says the task.
        work_dir (str, optional): The run's folder. Defaults to
            ``work_dirs/<name of the config>``.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cfg_options (dict, optional): Overrides, as
            :func:`~vil_mm.engine.overrides.override` takes them.

    Raises:
        ImportError: If the task's library is not installed; it names the extra.
        ValueError: If an override would have no effect.
    """
    cfg = Config.fromfile(path)
    if cfg.get('default_scope') in EXTRAS:
        require(cfg.default_scope)
    if cfg_options:
        override(cfg, cfg_options)
    cfg.launcher = launcher
    if work_dir is not None:
        if 'work_dir' in (cfg_options or {}):
            raise ValueError(f'--work-dir {work_dir} and --cfg-options work_dir={cfg.work_dir} both name the folder')
        cfg.work_dir = work_dir
    if cfg.get('work_dir') is None:
        cfg.work_dir = str(Path('work_dirs') / Path(path).stem)
    return cfg


@check_arguments
def enable_amp(cfg: Config) -> None:
    """Train in mixed precision: on a GPU in float16 or the type in the config, on the CPU in bfloat16.

    Args:
        cfg (Config): The config; changed in place.

    Raises:
        ValueError: If the config has no wrapper, or one of its own, or the
            model has RoIAlign, which mmcv supports only in float32 on the CPU.
    """
    if not cfg.get('optim_wrapper'):
        raise ValueError('--amp needs optim_wrapper=dict(...) in the config, which has none')
    wrapper = _class_of_wrapper(cfg)
    if wrapper not in (OptimWrapper, AmpOptimWrapper, CPUAmpOptimWrapper):
        raise ValueError(f'--amp would replace type={cfg.optim_wrapper.type} of optim_wrapper: use only one of them')
    if is_cuda_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    refuse_roi_align(cfg)
    cfg.optim_wrapper.type = 'vil_mm.CPUAmpOptimWrapper'
    for name in ('loss_scale', 'dtype'):
        if cfg.optim_wrapper.pop(name, None) is not None:
            print_log(f'optim_wrapper.{name} is ignored: on the CPU, --amp means bfloat16 without a loss scale')


@check_arguments
def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate to the actual batch size.

    Args:
        cfg (Config): The config; changed in place.

    Raises:
        ValueError: If the config does not say for which batch size it was made,
            or that is not a positive number.
    """
    settings = cfg.get('auto_scale_lr') or {}
    if 'base_batch_size' not in settings:
        raise ValueError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config, which has none')
    size = settings['base_batch_size']
    if not isinstance(size, (int, float)) or size <= 0:
        raise ValueError(f'auto_scale_lr.base_batch_size={size!r} must be a positive number')
    cfg.auto_scale_lr.enable = True


@check_arguments
def build_runner(cfg: Config) -> Runner:
    """Build the runner, with the safeguards of all runs, and adapted to a machine without a GPU if need be.

    Args:
        cfg (Config): The config; changed in place.

    Returns:
        Runner: The runner.

    Raises:
        ValueError: If several processes without GPUs would run a model with
            SyncBN, or a sharded run would have a moving average of the
            weights, or ``train_cfg`` has no positive length, or learning rates
            cannot be scaled, or the type of the optimizer wrapper or one within
            the model is not registered.
    """
    use_safe_checkpoint_loading()
    scope = cfg.get('default_scope')
    for name in ('max_epochs', 'max_iters', 'val_interval'):
        length = (cfg.get('train_cfg') or {}).get(name, 1)
        if not isinstance(length, (int, float)) or length < 1:
            raise ValueError(f'train_cfg.{name}={length!r} must be a number of at least 1')
    scale = (cfg.get('auto_scale_lr') or {}).get('enable') and cfg.get('train_dataloader')
    if scale:
        enable_auto_scale_lr(cfg)  # for its check
    if not is_cuda_available() and issubclass(_class_of_wrapper(cfg), AmpOptimWrapper):
        # mmcv's ops on the CPU support only float32, so bfloat16 is only used if asked for
        for name in ('type', 'loss_scale', 'dtype'):
            cfg.optim_wrapper.pop(name, None)
        print_log('there is no GPU: training in float32, not in the mixed precision of the config')
    hooks = cfg.get('custom_hooks') or []
    kinds = [find_class(hook.get('type'), HOOKS, scope) if isinstance(hook, dict) else type(hook) for hook in hooks]
    cfg.custom_hooks = [*hooks, *(dict(type=f'vil_mm.{kind.__name__}') for kind in SAFEGUARDS if kind not in kinds)]
    _keep_checkpoints_safe(cfg)
    sharded = find_class((cfg.get('strategy') or {}).get('type'), STRATEGIES, scope) is FullyShardStrategy
    if sharded and any(isinstance(kind, type) and issubclass(kind, EMAHook) for kind in kinds):
        raise ValueError(
            "custom_hooks has an EMAHook, which mmengine's FlexibleRunner cannot resume: remove it, or the strategy"
        )
    if cfg.launcher == 'pytorch' and not is_cuda_available():
        _start_gloo(cfg)
    try:
        runner = RUNNERS.build(cfg)
    except KeyError as error:
        message = explain(error, cfg)
        if message is None:
            raise
        raise ValueError(message) from error
    if scale:
        _scale_rates(runner, cfg)
    return runner


def _keep_checkpoints_safe(cfg: Config) -> None:
    """Write checkpoints by our hook, and start the worker processes of counted epochs anew, which resumed ones do."""
    hooks = cfg.get('default_hooks') or {}
    checkpoint = hooks.get('checkpoint', dict(type='CheckpointHook'))
    if (
        isinstance(checkpoint, dict)
        and find_class(checkpoint.get('type'), HOOKS, cfg.get('default_scope')) is CheckpointHook
    ):
        cfg.default_hooks = dict(hooks, checkpoint=dict(checkpoint, type='vil_mm.SafeCheckpointHook'))
    loader = cfg.get('train_dataloader')
    if isinstance(loader, dict) and loader.get('persistent_workers') and cfg.train_cfg.get('by_epoch'):
        # workers that outlive an epoch would know nothing of the next one's number
        loader['persistent_workers'] = False


def _class_of_wrapper(cfg: Config) -> type:
    kind, scope = (cfg.get('optim_wrapper') or {}).get('type', 'OptimWrapper'), cfg.get('default_scope')
    found = find_class(kind, OPTIM_WRAPPERS, scope)
    if found is None:
        raise ValueError(f'optim_wrapper.type={kind!r} is not registered: {advise(kind, OPTIM_WRAPPERS, scope)}')
    return found


def _scale_rates(runner: Runner, cfg: Config) -> None:
    """Make mmengine's scaling of the learning rate count accumulated gradients and include the bounds of schedules.

    Raises:
        ValueError: If gradients are accumulated in a runner that cannot count
            them.
    """
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    if accumulated != 1 and not isinstance(runner, Runner):
        raise ValueError(
            f'auto_scale_lr does not count accumulative_counts={accumulated} with {type(runner).__name__}: set the '
            'learning rate yourself'
        )
    batch_size = cfg.train_dataloader.batch_size * runner.world_size * accumulated
    ratio = batch_size / cfg.auto_scale_lr.base_batch_size
    # mmengine divides the batch size of one iteration by this
    runner.auto_scale_lr = dict(cfg.auto_scale_lr, base_batch_size=cfg.auto_scale_lr.base_batch_size / accumulated)
    print_log(
        f'auto_scale_lr: batches of {batch_size} images, so that learning rates are scaled by {ratio:g}', 'current'
    )
    for scheduler in nested_dicts(runner.param_schedulers):
        kind = find_class(scheduler.get('type'), PARAM_SCHEDULERS, cfg.get('default_scope'))
        if isinstance(kind, type) and issubclass(kind, LRSchedulerMixin):
            for bound in ('eta_min', 'eta_max'):
                if scheduler.get(bound):
                    scheduler[bound] *= ratio


def _start_gloo(cfg: Config) -> None:
    """Join the other processes over gloo; mmengine's own start assumes a GPU per process.

    Raises:
        ValueError: If the model has synchronized batch norms, which PyTorch
            and mmcv support only on GPUs.
    """
    scope = cfg.get('default_scope')
    kinds = [find_class(part.get('type'), MODELS, scope) for part in nested_dicts(cfg.model)]
    if cfg.get('sync_bn') or any(inspect.isclass(kind) and issubclass(kind, SYNCHRONIZED_NORMS) for kind in kinds):
        raise ValueError(
            "several processes without GPUs cannot run a model with synchronized batch norms (type='SyncBN'): set "
            'another type in its norm_cfg and no sync_bn, or start one process'
        )
    cfg.env_cfg = dict(cfg.get('env_cfg') or {}, dist_cfg=dict(backend='gloo'))
    runner = find_class(cfg.get('runner_type'), RUNNERS) or Runner
    if find_class((cfg.get('strategy') or {}).get('type'), STRATEGIES) is STRATEGIES.get('FSDPStrategy'):
        cfg.strategy.setdefault('model_wrapper', dict(type='MMFullyShardedDataParallel'))
        cfg.strategy.model_wrapper.setdefault('device_id', 'cpu')
    elif issubclass(runner, Runner):
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    torch.distributed.init_process_group('gloo')
    print_log(f'gloo: process {os.environ["RANK"]} of {os.environ["WORLD_SIZE"]}')
