"""Evaluate a checkpoint. The config determines the task."""

import argparse

from mmengine.dist import is_main_process
from mmengine.fileio import dump

from vil_mm.datasets.checks import check_data
from vil_mm.engine import launch, options
from vil_mm.engine.checks import check_config

#: Endings of the file of ``--out``, by what it holds.
ENDINGS = dict(pred=('.pkl', '.pickle'), metrics=('.json', '.yml', '.yaml', '.pkl', '.pickle'))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file')
    launch.add_arguments(parser)
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument(
        '--out-item',
        choices=['pred', 'metrics'],
        default='pred',
        help='what to write with --out; metrics may also go to a .json, .yml or .yaml file',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision (bfloat16 on the CPU)')
    parser.add_argument('--tta', action='store_true', help='average over views of each image: tta_model, tta_pipeline')
    parser.add_argument(
        '--allow-partial',
        nargs='+',
        metavar='NAME',
        help='modules of the model whose tensors the checkpoint may lack or have otherwise, such as head',
    )
    parser.add_argument('--show-dir', metavar='FOLDER', help='draw the predictions into this folder')
    args = parser.parse_args()
    endings = ENDINGS[args.out_item]
    if args.out and not args.out.endswith(endings):
        parser.error(f'--out {args.out!r} must end in {", ".join(endings)}')
    if args.out_item == 'metrics' and not args.out:
        parser.error('--out-item metrics needs --out FILE')
    return args


def main() -> None:
    args = parse_args()
    cfg = launch.load_config(args.config, args.work_dir, args.launcher, args.cfg_options)
    if 'load_from' in (args.cfg_options or {}):
        raise ValueError(f'--cfg-options load_from has no effect: the checkpoint is {args.checkpoint}')
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if args.out and args.out_item == 'pred':
        options.write_predictions(cfg, args.out)
    hooks = list(cfg.get('custom_hooks') or [])
    if args.show_dir:
        hooks.append(dict(type='vil_mm.DrawPredictionsHook', out_dir=args.show_dir))
    if args.allow_partial:
        hooks.append(dict(type='vil_mm.CheckParametersHook', allow_partial=args.allow_partial))
    cfg.custom_hooks = hooks
    check_config(cfg, training=False)
    if not args.skip_data_checks:
        check_data(cfg, ['test_dataloader'])
    if args.amp:
        options.enable_test_amp(cfg)
    if args.tta:
        options.enable_tta(cfg)
    metrics = launch.build_runner(cfg).test()
    if args.out_item == 'metrics' and is_main_process():
        dump(metrics, args.out)


if __name__ == '__main__':
    launch.run(main)
