"""Draw test images with the predictions of a classifier, its mistakes first."""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from vil_mm.engine.checkpoint import use_safe_checkpoint_loading

COLUMNS = 10


def show_predictions(config: Path, checkpoint: Path, target: Path, num_images: int) -> None:
    """Draw the picture.

    Args:
        config (Path): Config of an ``ImageClassifier`` and its test set.
        checkpoint (Path): Checkpoint file.
        target (Path): The picture to write.
        num_images (int): How many images to draw.
    """
    from mmpretrain.apis import ImageClassificationInferencer
    from mmpretrain.registry import DATASETS

    use_safe_checkpoint_loading()
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    inferencer = ImageClassificationInferencer(str(config), str(checkpoint), classes=dataset.CLASSES)
    results = inferencer([info['img_path'] for info in infos], batch_size=cfg.test_dataloader.batch_size)
    pairs = list(zip(infos, results))
    mistaken = [pair for pair in pairs if pair[0]['gt_label'] != pair[1]['pred_label']]
    right = [pair for pair in pairs if pair[0]['gt_label'] == pair[1]['pred_label']]
    # the other images are spread over the test set, so that every class is seen
    room = max(0, num_images - len(mistaken))
    shown = (mistaken + right[:: max(1, len(right) // max(1, room))][:room])[:num_images]

    rows = -(-len(shown) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(COLUMNS, 1.35 * rows), squeeze=False, layout='constrained')
    for axis in axes.flat:
        axis.axis('off')
    for axis, (info, result) in zip(axes.flat, shown):
        wrong = info['gt_label'] != result['pred_label']
        axis.imshow(Image.open(info['img_path']))
        truth = f'\nis {dataset.CLASSES[info["gt_label"]]}' if wrong else ''
        axis.set_title(
            f'{result["pred_class"]} ({result["pred_score"]:.0%}){truth}', color='red' if wrong else 'black', fontsize=8
        )
    accuracy = len(right) / len(pairs)
    figure.suptitle(f'{len(pairs)} test images, {len(mistaken)} mistaken (red): top-1 {accuracy:.2%}', fontsize=10)
    figure.savefig(target, dpi=120)
    print(f'{target}: {len(shown)} of {len(pairs)} test images, top-1 {accuracy:.2%}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', type=Path, help='config file of a classifier')
    parser.add_argument('checkpoint', type=Path, help='checkpoint file')
    parser.add_argument('target', type=Path, help='picture to write')
    parser.add_argument('--num-images', type=int, default=50, help='number of images to draw (default: %(default)s)')
    args = parser.parse_args()
    show_predictions(args.config, args.checkpoint, args.target, args.num_images)


if __name__ == '__main__':
    main()
