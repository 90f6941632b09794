"""Count the parameters and multiply-adds of a config's model, for any task, and the share of each part.

The heads of a two-stage detector count as for the most boxes that it keeps in testing, usually 1000, and masks as for
the most objects that it finds, usually 100.
"""

import argparse

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from vil_mm._extras import EXTRAS, require
from vil_mm.apis import count_macs, count_published_macs, image_size
from vil_mm.engine.overrides import add_override_argument, override


def build_model(cfg: Config) -> torch.nn.Module:
    """Build the model of a config, for evaluation."""
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    return MODELS.build(cfg.model).eval()


def make_inputs(cfg: Config, shape: tuple[int, int], batch_size: int = 1) -> tuple:
    """Make what the model's forward takes in mode ``'tensor'``: images of the height and width ``shape``."""
    images = torch.rand(batch_size, cfg.model.backbone.get('in_channels', 3), *shape)
    if cfg.get('default_scope') != 'mmdet':
        return (images,)
    from mmdet.structures import DetDataSample

    sizes = dict(img_shape=shape, ori_shape=shape, pad_shape=shape, batch_input_shape=shape, scale_factor=(1.0, 1.0))
    return images, [DetDataSample(metainfo=sizes) for _ in range(batch_size)]


def fix_regions(model: torch.nn.Module) -> None:
    """Let a two-stage detector's heads run on the most boxes and objects that it keeps in testing, with blank features.

    The count then depends neither on weights nor on the image, and can be made
    with fake tensors.

    Args:
        model (torch.nn.Module): A model of any kind; changed in place.
    """
    roi_head = getattr(model, 'roi_head', None)
    if roi_head is None:
        return

    def run_heads(levels: tuple[torch.Tensor, ...], *args) -> None:
        numbers = dict(bbox=model.rpn_head.test_cfg.max_per_img, mask=roi_head.test_cfg.max_per_img)
        for kind, number in numbers.items():
            extractors, heads = (getattr(roi_head, f'{kind}_{part}', None) for part in ('roi_extractor', 'head'))
            if isinstance(heads, torch.nn.Module) and not isinstance(heads, torch.nn.ModuleList):
                extractors, heads = [extractors], [heads]
            for extractor, head in zip(extractors or (), heads or ()):  # a cascade has several
                size = extractor.roi_layers[0].output_size
                head(levels[0].new_zeros(number * len(levels[0]), extractor.out_channels, *size))

    roi_head.forward = run_heads
    model.rpn_head.predict = lambda levels, *args, **kwargs: model.rpn_head(levels)


def describe(macs: dict[str, int], model: torch.nn.Module) -> list[tuple[str, int, int]]:
    """List the parts, and the backbone's stages: name, parameters and multiply-adds.

    Operations outside the call of any module (as in mmdet's region heads,
    for example) are listed as ``(elsewhere)``.
    """
    parts = dict(model.named_children())
    stages = {f'backbone.stages.{i}': stage for i, stage in enumerate(getattr(model.backbone, 'stages', ()))}
    elsewhere = macs[''] - sum(macs.get(name, 0) for name in parts)
    rows = []
    for name, part in parts.items():
        for key, module in {name: part, **(stages if name == 'backbone' else {})}.items():
            rows.append((key, sum(p.numel() for p in module.parameters()), macs.get(key, 0)))
    return [*rows, ('(elsewhere)', 0, elsewhere)] if elsewhere else rows


def choose_shape(cfg: Config, sizes: list[int] | None) -> tuple[int, int]:
    """Find the height and width to count for: what was given, or else what the config says.

    Raises:
        ValueError: If there are more than two sizes, or neither says any.
    """
    if not sizes:
        try:
            return image_size(cfg)
        except ValueError as error:
            raise ValueError(f'--shape is needed: {error}') from error
    if len(sizes) > 2 or min(sizes) < 1:
        raise ValueError(f'--shape {sizes} must be one size, or height and width, in pixels')
    return sizes[0], sizes[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        type=int,
        nargs='+',
        metavar='SIZE',
        help='height and width (default: those of training for a classifier, else of the largest test images)',
    )
    parser.add_argument('--published', action='store_true', help="also count as ViL's publication does")
    add_override_argument(parser)
    args = parser.parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options:
        override(cfg, args.cfg_options)
    scope = cfg.get('default_scope', 'mmpretrain')
    if scope in EXTRAS:
        require(scope)
    try:
        shape = choose_shape(cfg, args.shape)
    except ValueError as error:
        parser.error(str(error))
    model = build_model(cfg)
    fix_regions(model)
    inputs = make_inputs(cfg, shape)
    macs = count_macs(model, inputs, mode='tensor')
    total = macs['']
    print(f'{args.config}, image of {shape[0]}x{shape[1]}')
    print(f'{"part":<22}{"parameters":>14}{"GMACs":>10}{"share":>8}')
    rows = describe(macs, model)
    for name, parameters, part in [*rows, ('all', sum(p.numel() for p in model.parameters()), total)]:
        print(f'{name:<22}{parameters:>14,}{part / 1e9:>10.3f}{part / total:>8.1%}')
    if args.published:
        published = count_published_macs(model, inputs, mode='tensor')
        print(f'{"as the publication counts":<36}{published / 1e9:>10.3f}')


if __name__ == '__main__':
    main()
