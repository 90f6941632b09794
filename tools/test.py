"""Evaluate a checkpoint of any task; the config says which."""

import argparse

from mmengine.config import DictAction
from mmengine.evaluator import DumpResults

from vil_mm.engine import launch


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument('--work-dir', help='folder of logs (default: work_dirs/<config name>)')
    parser.add_argument('--out', metavar='FILE.pkl', help='also write all predictions to this file')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='config overrides')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none', help='job launcher')
    # Set by the launcher, which also sets the environment variable that is read.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.out and not args.out.endswith(('.pkl', '.pickle')):
        parser.error(f'--out {args.out!r} must end in .pkl or .pickle')
    return args


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
    cfg.load_from = args.checkpoint
    runner = launch.build_runner(cfg)
    if args.out:
        runner.test_evaluator.metrics.append(DumpResults(out_file_path=args.out))
    runner.test()


if __name__ == '__main__':
    main()
