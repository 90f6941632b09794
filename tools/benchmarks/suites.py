"""The shapes that the benchmark runs over."""

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from problem import Shape

PACKAGE = Path(__file__).parents[2] / 'vil_mm'
#: Image height and width, in pixels, and images in a batch on the CPU and on a GPU.
IMAGES = {(224, 224): dict(cpu=8, cuda=64), (800, 1344): dict(cpu=1, cuda=2)}
ACCEPTANCE = 'acceptance'
SCALING = 'acceptance: time per token'


def stage_shapes(image: tuple[int, int], batch: int) -> list[Shape]:
    """List the stages of ViL-Small, the first (largest map) first, all as windows of 7.

    Args:
        image (tuple[int, int]): Height and width, in pixels.
        batch (int): Images.
    """
    # From packages of other names, because importing vil_mm.models imports OpenMMLab.
    for name in ('plain', 'plain.models', 'plain.models.base', 'plain.models.backbones'):
        package = sys.modules.setdefault(name, ModuleType(name))
        package.__path__ = [str(PACKAGE.joinpath(*name.split('.')[1:]))]
    arch = import_module('plain.models.backbones.vil_arch').ARCH_ZOO['small']
    height, width = image
    shapes = []
    for patch_size, heads, embed_dims, num_global in zip(
        arch['patch_sizes'], arch['num_heads'], arch['embed_dims'], arch['num_global_tokens']
    ):
        height, width = height // patch_size, width // patch_size
        shapes.append(Shape(batch, heads, embed_dims // heads, height, width, num_global_tokens=num_global))
    return shapes


def make_suites(
    suite: str, device: str, batch: int | None, map_sides: list[int], sizes: dict[str, int]
) -> dict[str, list[Shape]]:
    """List the shapes of each series, the smallest first, so that each tells how long the next will take.

    Args:
        suite (str): ``'maps'``, ``'stages'``, ``'all'`` (both) or ``'acceptance'``.
        device (str): ``'cpu'`` or ``'cuda'``.
        batch (int, optional): Batch of ``maps`` and ``stages``. None: 1 for
            maps, and as ``IMAGES`` says for stages.
        map_sides (list[int]): Sides of the square maps, in tokens.
        sizes (dict[str, int]): The other sizes of ``maps``, as ``Shape`` names them.
    """
    stages = {
        f'ViL-Small at {height}x{width}': stage_shapes((height, width), batch or default[device])
        for (height, width), default in IMAGES.items()
    }
    if suite == 'acceptance':
        if device == 'cuda':
            return {f'{ACCEPTANCE}: {name}': shapes[2::-1] for name, shapes in stages.items()}
        return {ACCEPTANCE: [Shape(8, 3, 32, 56, 56)], SCALING: [Shape(1, 3, 32, side, side) for side in (56, 288)]}
    maps = {'maps': [Shape(batch or 1, height=side, width=side, **sizes) for side in sorted(map_sides)]}
    stages = {name: shapes[::-1] for name, shapes in stages.items()}
    return {'maps': maps, 'stages': stages, 'all': maps | stages}[suite]
