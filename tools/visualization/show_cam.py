"""Draw what speaks for a class, stage by stage: Grad-CAM (arXiv 1610.02391) of any classifier with a backbone of ours.

The channels of a stage's tokens are weighted by the mean gradient of the class's score, and added up over the channels;
what speaks against the class is not drawn. The image is drawn as the network gets it, after the config's test pipeline.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from show_attention import load
from torch import Tensor, nn

from vil_mm.engine.launch import run


def activation_maps(model: nn.Module, data: dict, label: int | None) -> tuple[Tensor, Tensor, int, list[Tensor]]:
    """Compute Grad-CAM of the output of each stage.

    Args:
        model (nn.Module): A classifier, from ``load``.
        data (dict): The image, from there.
        label (int, optional): The class; None: the predicted one.

    Returns:
        tuple[Tensor, Tensor, int, list[Tensor]]: The backbone's input ``(1, C,
        H, W)``, the scores before the softmax ``(classes,)``, the class, and
        the maps ``(h, w)``, which are not negative.

    Raises:
        ValueError: If there is no such class.
    """
    outputs: list[tuple[int, Tensor, tuple[int, int]]] = []
    handles = [
        stage.register_forward_hook(
            lambda module, args, output: outputs.append((module.embed.num_global_tokens, *output))
        )
        for stage in model.backbone.stages
    ]
    image = model.data_preprocessor(pseudo_collate([data]))['inputs']
    with torch.enable_grad():
        (scores,) = model(image.requires_grad_(), mode='tensor')
    for handle in handles:
        handle.remove()
    if label is None:
        label = int(scores.argmax())
    if not 0 <= label < len(scores):
        raise ValueError(f'--label {label} is no class of the model, 0 to {len(scores) - 1}')
    gradients = torch.autograd.grad(scores[label], [tokens for _, tokens, _ in outputs])
    maps = []
    for (num_global, tokens, hw_shape), gradient in zip(outputs, gradients):
        weights = gradient[0, num_global:].mean(0)
        maps.append((tokens[0, num_global:] @ weights).relu().unflatten(0, hw_shape).detach())
    return image.detach(), scores.detach(), label, maps


def show_cam(config: Path, checkpoint: Path, image: str | Path, target: Path, label: int | None = None) -> None:
    """Draw the picture.

    Args:
        config (Path): Config of a classifier of mmpretrain.
        checkpoint (Path): Checkpoint file.
        image (str | Path): The image file, or else the index of a sample of the
            test set.
        target (Path): The picture to write.
        label (int, optional): The class. Defaults to None: the predicted one.

    Raises:
        ValueError: If the model is no classifier, there is no such sample or
            class, or the picture would lie among the data.
        FileExistsError: If the picture would replace another file.
    """
    from mmpretrain.models import BaseClassifier

    model, data, cfg = load(config, checkpoint, image, target)
    if not isinstance(model, BaseClassifier):
        raise ValueError(f'{config}: model.type={cfg.model.type} is no classifier, so it has no scores of classes')
    shown, scores, label, maps = activation_maps(model, data, label)
    height, width = shown.shape[2:]
    picture = shown[0, :3].mean(0).numpy()  # of the colors; matplotlib scales it

    figure, axes = plt.subplots(1, 1 + len(maps), figsize=(2 * (1 + len(maps)), 2.3), layout='constrained')
    for axis, title in zip(axes, ['image', *(f'stage {number}' for number in range(len(maps)))]):
        axis.axis('off')
        axis.set_title(title, fontsize=8)
        axis.imshow(picture, cmap='gray', extent=(0, width, height, 0))
    for axis, activation in zip(axes[1:], maps):
        grid = activation.numpy()
        strength = grid / max(grid.max(), np.finfo(grid.dtype).tiny)
        axis.imshow(strength, cmap='inferno', vmin=0, vmax=1, alpha=0.8 * strength, extent=(0, width, height, 0))
    what = f'class {label}, whose score is {scores[label]:.3g}'
    figure.suptitle(f'what speaks for {what}', fontsize=9)
    figure.savefig(target, dpi=130)
    print(f'{target}: what speaks for {what}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, help='config file of a classifier')
    parser.add_argument('checkpoint', type=Path, help='checkpoint file')
    parser.add_argument('image', help='image file, or index of a sample of the test set')
    parser.add_argument('target', type=Path, help='picture to write')
    parser.add_argument('--label', type=int, help='index of the class (default: the predicted one)')
    args = parser.parse_args()
    try:
        show_cam(**vars(args))
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    run(main)
