"""From the command line of ``tools/train.py`` and ``tools/test.py`` to a runner."""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed
from mmengine.config import Config, DictAction
from mmengine.device import is_cuda_available
from mmengine.logging import print_log
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from .._extras import EXTRAS, require
from .checkpoint import use_safe_checkpoint_loading

FINITE_LOSS_HOOK = 'vil_mm.CheckFiniteLossHook'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all tools have."""
    parser.add_argument('--work-dir', help='folder of logs and checkpoints (default: work_dirs/<config name>)')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='config overrides')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    parser.add_argument(
        '--skip-data-checks',
        action='store_true',
        help='start at once, and give up finding before the run what would stop it late or spoil its result: missing '
        'or damaged files, labels that mean other classes, boxes and label maps that do not fit their images',
    )
    # passed by the launcher, which also sets the environment variable that is read
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def load_config(path: str, work_dir: str | None, launcher: str, cfg_options: dict | None) -> Config:
    """Read a config and apply the options that all tools have.

    Args:
        path (str): The config file. Its ``default_scope`` says the task.
        work_dir (str, optional): The run's folder. Defaults to
            ``work_dirs/<name of the config>``.
        launcher (str): ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        cfg_options (dict, optional): Overrides, as ``DictAction`` reads them.

    Raises:
        ImportError: If the task's library is not installed; it names the extra.
    """
    cfg = Config.fromfile(path)
    if cfg.get('default_scope') in EXTRAS:
        require(cfg.default_scope)
    if cfg_options:
        cfg.merge_from_dict(cfg_options)
    cfg.launcher = launcher
    if work_dir is not None:
        cfg.work_dir = work_dir
    cfg.setdefault('work_dir', str(Path('work_dirs') / Path(path).stem))
    return cfg


def enable_amp(cfg: Config) -> None:
    """Train in mixed precision: on a GPU in float16 or the type in the config, on the CPU in bfloat16.

    Args:
        cfg (Config): The config; changed in place.

    Raises:
        ValueError: If the model has RoIAlign, which mmcv supports only in
            float32 on the CPU.
    """
    if is_cuda_available():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
        return
    if 'roi_head' in cfg.get('model', {}):
        raise ValueError(f"--amp needs a GPU for {cfg.model.type}: mmcv's RoIAlign supports only float32 on the CPU")
    cfg.optim_wrapper.type = 'vil_mm.CPUAmpOptimWrapper'
    for name in ('loss_scale', 'dtype'):
        if cfg.optim_wrapper.pop(name, None) is not None:
            print_log(f'optim_wrapper.{name} is ignored: on the CPU, --amp means bfloat16 without a loss scale')


def enable_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate to the actual batch size.

    Args:
        cfg (Config): The config; changed in place.

    Raises:
        ValueError: If the config does not say for which batch size it was made.
    """
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ValueError('--auto-scale-lr needs auto_scale_lr=dict(base_batch_size=...) in the config, which has none')
    cfg.auto_scale_lr.enable = True


def build_runner(cfg: Config) -> Runner:
    """Build the runner, with the safeguards of all runs, and adapted to a machine without a GPU if need be.

    Args:
        cfg (Config): The config; changed in place.

    Returns:
        Runner: The runner.

    Raises:
        ValueError: If several processes without GPUs would run a model with
            SyncBN.
    """
    use_safe_checkpoint_loading()
    if not is_cuda_available() and (cfg.get('optim_wrapper') or {}).get('type') == 'AmpOptimWrapper':
        # mmcv's ops on the CPU support only float32, so bfloat16 is only used if asked for
        cfg.optim_wrapper = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'loss_scale', 'dtype')}
        print_log('there is no GPU: training in float32, not in the mixed precision of the config')
    hooks = cfg.get('custom_hooks') or []
    if not any(hook.get('type') == FINITE_LOSS_HOOK for hook in hooks):
        cfg.custom_hooks = [*hooks, dict(type=FINITE_LOSS_HOOK)]
    if cfg.launcher == 'pytorch' and not is_cuda_available():
        _start_gloo(cfg)
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _start_gloo(cfg: Config) -> None:
    """Join the other processes over gloo; mmengine's own start assumes a GPU per process.

    Raises:
        ValueError: If the model has synchronized batch norms, which PyTorch
            supports only on GPUs.
    """
    if "'SyncBN'" in str(cfg.model):
        raise ValueError(
            "several processes without GPUs cannot run a model with type='SyncBN': set another type in its norm_cfg, "
            'or start one process'
        )
    cfg.env_cfg.dist_cfg = dict(backend='gloo')
    if cfg.get('strategy', {}).get('type') == 'FSDPStrategy':
        cfg.strategy.setdefault('model_wrapper', dict(type='MMFullyShardedDataParallel'))
        cfg.strategy.model_wrapper.setdefault('device_id', 'cpu')
    elif 'runner_type' not in cfg:
        cfg.model_wrapper_cfg = dict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
    torch.distributed.init_process_group('gloo')
    print_log(f'gloo: process {os.environ["RANK"]} of {os.environ["WORLD_SIZE"]}')
