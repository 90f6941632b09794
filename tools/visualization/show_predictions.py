"""Draw test images with the predictions of a classifier, its mistakes first."""

import argparse
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from rich.progress import track

from vil_mm.engine.checkpoint import use_safe_checkpoint_loading
from vil_mm.engine.fitting import check_inference
from vil_mm.engine.launch import run
from vil_mm.engine.pictures import LoadedImages, check_target
from vil_mm.registry import find_class, innermost

COLUMNS = 10


def describe(labels: Sequence[int], classes: Sequence[str] | None) -> str:
    """Name classes, or number them if they have no names."""
    return ', '.join(str(classes[label] if classes else label) for label in labels) or 'none'


def show_predictions(config: Path, checkpoint: Path, target: Path, num_images: int) -> None:
    """Draw the picture. An image with several labels is mistaken if any label differs.

    Args:
        config (Path): Config of an ``ImageClassifier`` and its test set.
        checkpoint (Path): Checkpoint file.
        target (Path): The picture to write.
        num_images (int): How many images to draw.

    Raises:
        ValueError: If the model is no classifier, the test set has no labels,
            or the picture would lie among the data.
        FileExistsError: If the picture would replace another file.
    """
    from mmpretrain.apis import get_model
    from mmpretrain.models import BaseClassifier

    use_safe_checkpoint_loading()
    check_inference()
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    kind = find_class(cfg.model.type, MODELS, cfg.default_scope)
    if not isinstance(kind, type) or not issubclass(kind, BaseClassifier):
        raise ValueError(
            f'{config}: model.type={cfg.model.type} is no classifier. The predictions of any other model are drawn by '
            f'tools/test.py {config} {checkpoint} --show-dir FOLDER'
        )
    check_target(target, [dataset.get('data_root') for dataset in innermost(cfg.test_dataloader.dataset)])
    model = get_model(cfg, pretrained=str(checkpoint), device=get_device())
    loader = Runner.build_dataloader(cfg.test_dataloader)
    classes = loader.dataset.metainfo.get('classes')
    images = LoadedImages(loader.dataset, model)
    with torch.no_grad():
        samples = [sample.cpu() for batch in track(loader, 'Predicting') for sample in model.test_step(batch)]
    if 'gt_label' not in samples[0]:
        raise ValueError(f'{config}: the test set has no labels, which tell what is a mistake')
    results = []
    for index, sample in zip(chain.from_iterable(loader.batch_sampler), samples):
        truth, predicted = (sorted(labels.tolist()) for labels in (sample.gt_label, sample.pred_label))
        results.append((index, truth, predicted, sample.pred_score))
    mistaken = [result for result in results if result[1] != result[2]]
    right = [result for result in results if result[1] == result[2]]
    # the other images are spread over the test set, so that every class is seen
    room = max(0, num_images - len(mistaken))
    shown = (mistaken + right[:: max(1, len(right) // max(1, room))][:room])[:num_images]

    rows = -(-len(shown) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(COLUMNS, 1.35 * rows), squeeze=False, layout='constrained')
    for axis in axes.flat:
        axis.axis('off')
    for axis, (index, truth, predicted, scores) in zip(axes.flat, shown):
        wrong = truth != predicted
        axis.imshow(images[index])
        percents = ', '.join(f'{scores[label]:.0%}' for label in predicted) or f'at most {scores.max():.0%}'
        title = f'{describe(predicted, classes)} ({percents})' + wrong * f'\nis {describe(truth, classes)}'
        axis.set_title(title, color='red' if wrong else 'black', fontsize=8)
    accuracy = f'{len(right) / len(results):.2%} right'
    figure.suptitle(f'{len(results)} test images, {len(mistaken)} mistaken (red): {accuracy}', fontsize=10)
    figure.savefig(target, dpi=120)
    print(f'{target}: {len(shown)} of {len(results)} test images, {accuracy}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', type=Path, help='config file of a classifier')
    parser.add_argument('checkpoint', type=Path, help='checkpoint file')
    parser.add_argument('target', type=Path, help='picture to write')
    parser.add_argument('--num-images', type=int, default=50, help='number of images to draw (default: %(default)s)')
    args = parser.parse_args()
    try:
        show_predictions(args.config, args.checkpoint, args.target, args.num_images)
    except (ValueError, FileExistsError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    run(main)
