"""Train a model. The config determines the task."""

import argparse

from vil_mm.datasets.checks import check_data
from vil_mm.engine import launch, options
from vil_mm.engine.checks import check_config
from vil_mm.engine.resuming import resume
from vil_mm.engine.work_dir import is_first_process, lock


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    launch.add_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='resume from this checkpoint (default: the last whole one in the work directory)',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16 on the CPU)')
    parser.add_argument('--no-validate', action='store_true', help='train without validation')
    parser.add_argument('--tensorboard', action='store_true', help='log to TensorBoard too, in vis_data of the run')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate to the actual batch size')
    parser.add_argument(
        '--skip-bad-images',
        action='store_true',
        help='where a training image cannot be read, take the next one instead, and log the path and the number',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
    if args.amp:
        launch.enable_amp(cfg)
    if args.no_validate:
        options.disable_validation(cfg)
    if args.tensorboard:
        options.enable_tensorboard(cfg)
    if args.auto_scale_lr:
        launch.enable_auto_scale_lr(cfg)
    if args.skip_bad_images:
        options.skip_bad_images(cfg)
    if args.resume and 'load_from' in (args.cfg_options or {}):
        raise ValueError('--cfg-options load_from has no effect with --resume: it takes everything from its checkpoint')
    if args.resume or cfg.get('resume'):
        resume(cfg, args.resume or cfg.get('load_from') or 'auto')
    check_config(cfg, training=True)
    if not args.skip_data_checks:
        check_data(cfg, ['train_dataloader', 'val_dataloader'])
    _locked = lock(cfg.work_dir) if is_first_process() else None
    launch.build_runner(cfg).train()


if __name__ == '__main__':
    launch.run(main)
