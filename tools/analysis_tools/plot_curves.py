"""Draw the curves of a run of any task: losses against iterations, metrics against validations."""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt

NOT_METRICS = {'step', 'epoch', 'iter', 'lr', 'base_lr', 'time', 'data_time', 'memory', 'grad_norm'}


def plot_curves(scalars: Path, target: Path) -> None:
    """Draw the curves.

    Args:
        scalars (Path): ``<work dir>/<time>/vis_data/scalars.json``.
        target (Path): The picture to write.

    Raises:
        ValueError: If the file holds no loss.
    """
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    train = [line for line in lines if 'loss' in line]
    validation = [line for line in lines if 'loss' not in line]
    if not train:
        raise ValueError(f'{scalars} holds no line with a loss')
    figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout='constrained')
    for axis, rows, wanted in (
        (axes[0], train, lambda name: 'loss' in name),
        (axes[1], validation, lambda name: name not in NOT_METRICS),
    ):
        for name in sorted({name for row in rows for name in row if wanted(name)}):
            points = [(row['step'], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points), marker='.', label=name)
        axis.grid(alpha=0.3)
        if axis.lines:
            axis.legend()
    axes[0].set(title='training', xlabel='iteration')
    axes[1].set(title='validation', xlabel='epoch' if 'epoch' in train[0] else 'iteration')
    figure.savefig(target, dpi=120)
    print(f'{target}: {len(train)} training and {len(validation)} validation records')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('scalars', type=Path, help='vis_data/scalars.json of a run')
    parser.add_argument('target', type=Path, help='picture to write')
    args = parser.parse_args()
    plot_curves(args.scalars, args.target)


if __name__ == '__main__':
    main()
