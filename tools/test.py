"""Evaluate a checkpoint. The config determines the task."""

import argparse

from vil_mm.datasets.checks import check_data
from vil_mm.engine import launch
from vil_mm.engine.checks import check_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    launch.add_arguments(parser)
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show-dir', metavar='FOLDER', help='draw the predictions into this folder')
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out {args.out!r} must end in .pkl or .pickle')
    return args


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
    if 'load_from' in (args.cfg_options or {}):
        raise ValueError(f'--cfg-options load_from has no effect: the checkpoint is {args.checkpoint}')
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if args.out:
        evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
        cfg.test_evaluator = [*evaluators, dict(type='DumpResults', out_file_path=args.out)]
    if args.show_dir:
        cfg.custom_hooks = [
            *(cfg.get('custom_hooks') or []),
            dict(type='vil_mm.DrawPredictionsHook', out_dir=args.show_dir),
        ]
    check_config(cfg, training=False)
    if not args.skip_data_checks:
        check_data(cfg, ['test_dataloader'])
    launch.build_runner(cfg).test()


if __name__ == '__main__':
    main()
