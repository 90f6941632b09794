"""Draw where a token looks: the attention weights of each head over the image, stage by stage.

This works with any classifier, detector or segmenter whose attentions compute weighted sums of the values of single
tokens: the sliding window, full attention, Performer, linear attention, windows, and windows of varied size, and so
with all our backbones but DWNet, which has no attention (show_cam.py works with it, too). It does not work with
attentions that mix tokens first. The image is drawn as the network gets it, after the config's test pipeline.
"""

import argparse
import math
from pathlib import Path

import matplotlib

matplotlib.use('Agg')
import matplotlib.pyplot as plt
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, TRANSFORMS, init_default_scope
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

from vil_mm.engine.checkpoint import use_safe_checkpoint_loading
from vil_mm.engine.fitting import check_inference
from vil_mm.engine.launch import run
from vil_mm.engine.pictures import check_target
from vil_mm.models.attentions.base_attention import BaseAttention
from vil_mm.models.attentions.window_attention import WindowAttention
from vil_mm.ops import join_windows
from vil_mm.registry import innermost


def load_model(cfg: Config, checkpoint: Path) -> nn.Module:
    """Build the model of a config and load a checkpoint, on the CPU."""
    if 'data_preprocessor' in cfg:  # a classifier's is not part of the model
        cfg.model.data_preprocessor = cfg.data_preprocessor
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    load_checkpoint(model, str(checkpoint), map_location='cpu')
    return model.eval()


def load_input(cfg: Config, image: str) -> dict:
    """Run the test pipeline of a config on an image file, or on a sample of its test set.

    Args:
        cfg (Config): The config.
        image (str): The file, or else the index of the sample.

    Returns:
        dict: What the model's ``test_step`` takes, without the batch.

    Raises:
        ValueError: If there is no such sample, or the pipeline loads no files.
    """
    if image.isdecimal() and not Path(image).exists():
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        if int(image) >= len(dataset):
            raise ValueError(f'image {image} is neither a file nor a sample of the test set, 0 to {len(dataset) - 1}')
        return dataset[int(image)]
    steps = [TRANSFORMS.build(step) for step in innermost(cfg.test_dataloader.dataset)[0].pipeline]
    if not any(type(step).__name__.startswith('LoadImage') for step in steps):
        raise ValueError(f'image {image!r} must be the index of a sample: the test pipeline loads no image files')
    steps = [step for step in steps if not type(step).__name__.endswith('Annotations')]
    return Compose(steps)(dict(img_path=image, img_id=0))


def load(config: Path, checkpoint: Path, image: str | Path, target: Path) -> tuple[nn.Module, dict, Config]:
    """Load the model and the image, once it is known that the picture may be written; also returns the config."""
    use_safe_checkpoint_loading()
    check_inference()
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    check_target(target, [dataset.get('data_root') for dataset in innermost(cfg.test_dataloader.dataset)])
    data = load_input(cfg, str(image))
    return load_model(cfg, checkpoint), data, cfg


def record_inputs(model: nn.Module, data: dict, block: int) -> tuple[Tensor, list[tuple[BaseAttention, Tensor, tuple]]]:
    """Run a model on an image, and record the inputs of the attentions.

    Args:
        model (nn.Module): The model, from :func:`load_model`.
        data (dict): The image, from :func:`load_input`.
        block (int): The index of the block in each stage; -1 is the last.

    Returns:
        tuple: The backbone's input ``(1, C, H, W)``, and per stage the
        attention, its tokens ``(1, G + h * w, C)`` and its grid ``(h, w)``.

    Raises:
        ValueError: If a stage has no such block, or the block no attention.
    """
    backbone = model.backbone
    images, records = [], []
    handles = [backbone.register_forward_pre_hook(lambda module, args: images.append(args[0]))]
    for number, stage in enumerate(backbone.stages):
        if not -len(stage.blocks) <= block < len(stage.blocks):
            raise ValueError(f'--block {block}: stage {number} has {len(stage.blocks)} blocks')
        attention = getattr(stage.blocks[block], 'attn', None)
        if attention is None:
            raise ValueError(f'{type(backbone).__name__} has no attention; see show_cam.py')
        handles.append(attention.register_forward_pre_hook(lambda module, args: records.append((module, *args))))
    with torch.no_grad():
        model.test_step(pseudo_collate([data]))
    for handle in handles:
        handle.remove()
    return images[0], records


def attention_weights(attention: BaseAttention, x: Tensor, hw_shape: tuple[int, int], token: int) -> Tensor:
    """Find the attention weights of a token, as the gradient of its output with respect to the values.

    Args:
        attention (BaseAttention): The attention.
        x (Tensor): Its input, ``(1, G + h * w, C)``.
        hw_shape (tuple[int, int]): The grid.
        token (int): The index of the token.

    Returns:
        Tensor: ``(heads, G + h * w)``. The weights of each head add up to 1,
        or to less if padding has the rest; those of linear attention add up
        to any number.

    Raises:
        ValueError: If the output is not a weighted sum of values that are each
            the projection of one token.
    """
    projected, outputs = [], []

    def keep_projection(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        projected.append(output.detach().requires_grad_())
        return projected[-1]

    handles = [
        attention.qkv.register_forward_hook(keep_projection),
        attention.proj.register_forward_pre_hook(lambda module, args: outputs.append(args[0])),
    ]
    with torch.enable_grad():
        attention(x, hw_shape)
    for handle in handles:
        handle.remove()
    projected.reverse()  # windows project the grid, and after it the global tokens
    is_cut = isinstance(attention, WindowAttention)
    shapes = [tuple(part.shape[:-1]) for part in projected]
    is_whole = all(shape[0] == 1 for shape in shapes) and sum(map(math.prod, shapes)) == x.shape[1]
    if not projected or not (is_cut or is_whole):
        raise ValueError(f'{type(attention).__name__} does not project its tokens one by one, so they have no weights')
    values = [part.flatten(0, -2)[:, 2 * attention.embed_dims :] for part in projected]
    output = outputs[0][0, token - x.shape[1]]
    weights = []
    for head in range(attention.num_heads):
        size = attention.embed_dims // attention.num_heads
        channels = slice(head * size, (head + 1) * size)
        gradients = torch.autograd.grad(output[head * size], projected, retain_graph=True)
        parts = [gradient[..., 2 * attention.embed_dims + head * size] for gradient in gradients]
        total = sum(part.flatten() @ value[:, channels] for part, value in zip(parts, values))
        exact = torch.allclose(total, output[channels], rtol=1e-3, atol=1e-4 * output.abs().max().item())
        if not exact or min(float(part.min()) for part in parts) < -1e-6:
            raise ValueError(
                f'{type(attention).__name__} gives no weights to the tokens: its output is no sum of their values'
            )
        if is_cut:
            parts[-1] = join_windows(parts[-1][..., None], hw_shape, attention.padding)
        weights.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(weights).detach()


def show_attention(
    config: Path,
    checkpoint: Path,
    image: str | Path,
    target: Path,
    point: list[int] | None = None,
    global_token: int | None = None,
    block: int = -1,
) -> None:
    """Draw the picture.

    Args:
        config (Path): Config of a classifier, detector or segmenter.
        checkpoint (Path): Checkpoint file.
        image (str | Path): The image file, or else the index of a sample of the
            test set.
        target (Path): The picture to write.
        point (list[int], optional): Column and row of the token that looks, in
            pixels of the image as the network gets it. Defaults to None: the
            center.
        global_token (int, optional): The global token that looks, instead of a
            token of the image. Defaults to None.
        block (int): The index of the block in each stage. Defaults to -1: the
            last.

    Raises:
        ValueError: If there is no such sample, ``point`` is outside of the
            image, a stage has no such block, the attentions have no weights, or
            the picture would lie among the data.
        FileExistsError: If the picture would replace another file.
    """
    model, data, _ = load(config, checkpoint, image, target)
    shown, records = record_inputs(model, data, block)
    height, width = shown.shape[2:]
    column, row = point or (width // 2, height // 2)
    if not (0 <= column < width and 0 <= row < height):
        raise ValueError(f'--point {column} {row} is outside of the image, whose size is {width}x{height}')
    picture = shown[0, :3].mean(0).numpy()  # of the colors; matplotlib scales it

    columns = max(attention.num_heads for attention, *_ in records)
    figure, axes = plt.subplots(
        len(records), columns, figsize=(1.9 * columns, 2.2 * len(records)), squeeze=False, layout='constrained'
    )
    for axis in axes.flat:
        axis.axis('off')
    for number, (attention, x, (h, w)) in enumerate(records):
        num_global = attention.num_global_tokens
        cell_h, cell_w = height / h, width / w
        at = min(h - 1, int(row / cell_h)), min(w - 1, int(column / cell_w))
        token = num_global + at[0] * w + at[1]
        if global_token is not None:
            if not global_token < num_global:
                axes[number, 0].set_title(f'stage {number} has {num_global} global tokens', fontsize=7)
                continue
            token = global_token
        weights = attention_weights(attention, x, (h, w), token)
        for head, axis in enumerate(axes[number, : attention.num_heads]):
            axis.imshow(picture, cmap='gray', extent=(0, width, height, 0))
            grid = weights[head, num_global:].reshape(h, w).numpy()
            # a token may attend only to global tokens
            strength = np.sqrt(grid / max(grid.max(), np.finfo(grid.dtype).tiny))
            axis.imshow(strength, cmap='inferno', vmin=0, vmax=1, alpha=0.8 * strength, extent=(0, width, height, 0))
            if global_token is None:
                corner = at[1] * cell_w, at[0] * cell_h
                axis.add_patch(plt.Rectangle(corner, cell_w, cell_h, fill=False, color='cyan', lw=1))
            share = weights[head, :num_global].sum() / weights[head].sum()
            on_global = f', {share:.0%} global' if num_global else ''
            axis.set_title(f'stage {number}, head {head}{on_global}', fontsize=7)
    figure.savefig(target, dpi=130)
    looker = f'the token at column {column}, row {row}' if global_token is None else f'global token {global_token}'
    print(f'{target}: where {looker} looks in {width}x{height} pixels')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', type=Path, help='config file')
    parser.add_argument('checkpoint', type=Path, help='checkpoint file')
    parser.add_argument('image', help='image file, or index of a sample of the test set')
    parser.add_argument('target', type=Path, help='picture to write')
    looker = parser.add_mutually_exclusive_group()
    looker.add_argument(
        '--point', type=int, nargs=2, metavar=('X', 'Y'), help='the token that looks (default: the center)'
    )
    looker.add_argument('--global-token', type=int, metavar='N', help='index of the global token that looks')
    parser.add_argument('--block', type=int, default=-1, help='index of the block in each stage (default: the last)')
    args = parser.parse_args()
    try:
        show_attention(**vars(args))
    except (ValueError, FileNotFoundError, FileExistsError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    run(main)
