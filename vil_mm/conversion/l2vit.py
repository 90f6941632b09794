"""Names of the published files of L2ViT, and ours for them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from .files import OTHER_PARTS, strip_module

#: Names outside of blocks, and ours for them.
NAMES = {
    r'downsample_layers\.0\.proj\.proj\.([0134])\.(\w+)': r'backbone.stages.0.downsample.convs.\1.\2',
    r'downsample_layers\.([123])\.proj\.(weight|bias)': r'backbone.stages.\1.downsample.projection.\2',
    r'downsample_layers\.([0123])\.norm\.(weight|bias)': r'backbone.stages.\1.downsample.norm.\2',
    r'(norm[0123]?)\.(weight|bias)': r'backbone.\1.\2',
    r'head\.(weight|bias)': r'head.fc.\1',
}
#: The same, within a block.
BLOCK_NAMES = {
    r'cpe\.([01])\.proj\.(weight|bias)': r'position_encodings.\1.proj.\2',
    r'(norm[123])\.(weight|bias)': r'\1.\2',
    r'attn\.(temperature|(qkv|proj)\.(weight|bias))': r'attn.\1',
    r'mlp\.fc1\.(weight|bias)': r'ffn.layers.0.0.\1',
    r'mlp\.fc2\.(weight|bias)': r'ffn.layers.1.\1',
    r'local_mp\.(conv[12])\.(weight|bias)': r'local_concentration.\1.\2',
    r'local_mp\.bn\.(\w+)': r'local_concentration.norm.\1',
}
#: Under which keys a file may hold the weights, by the choice of them.
KEYS = {None: ['model_ema', 'model', 'state_dict'], 'ema': ['model_ema'], 'raw': ['model', 'state_dict']}
NUM_MAPPED_CLASSES = 1000


def convert_name(name: str) -> str | None:
    """Convert the name of a published tensor; None: it is not known."""
    if name.startswith(OTHER_PARTS):
        return name
    name = name.removeprefix('backbone.')
    block = re.fullmatch(r'stages\.([0123])\.(\d+)\.(.+)', name)
    prefix, names = (f'backbone.stages.{block[1]}.blocks.{block[2]}.', BLOCK_NAMES) if block else ('', NAMES)
    for published, own in names.items():
        match = re.fullmatch(published, block[3] if block else name)
        if match:
            return prefix + match.expand(own)
    return None


def convert_state_dict(
    published: Mapping[str, Tensor], class_map: Sequence[int] | None = None
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): Its tensors, with or without
            ``module.`` or ``backbone.`` before the names.
        class_map (Sequence[int], optional): The rows of the head to keep, in
            their new order. Defaults to None: all.

    Returns:
        tuple[dict[str, Tensor], dict[str, str]]: The converted tensors, and
        the published names that were left out, with the reason: none is.

    Raises:
        ValueError: If a name is not one of an L2ViT, or ``class_map`` does not
            fit the head.
    """
    published = strip_module(published)
    names = {name: convert_name(name) for name in published}
    unknown = [name for name, own in names.items() if own is None]
    if unknown:
        raise ValueError(f'{len(unknown)} of {len(published)} names are not those of an L2ViT: {unknown[:5]}')
    converted = {own: published[name] for name, own in names.items()}
    if class_map is not None:
        if 'head.fc.weight' not in converted:
            raise ValueError('the file has no head of a classifier, so a class map does not apply to it')
        num_rows = len(converted['head.fc.weight'])
        outside = [row for row in class_map if not 0 <= row < num_rows]
        if outside:
            raise ValueError(f'the class map has rows such as {outside[0]}, but the head has rows 0 to {num_rows - 1}')
        for kind in ('weight', 'bias'):
            converted[f'head.fc.{kind}'] = converted[f'head.fc.{kind}'][list(class_map)]
    return converted, {}


def read_class_map(path: str | Path) -> list[int]:
    """Read a class map: line ``i`` is the row of the larger head that class ``i`` has.

    Raises:
        ValueError: If it is not one of 1000 rows, all distinct.
        FileNotFoundError: If there is no such file.
    """
    lines = Path(path).read_text().split()
    wrong = [line for line in lines if not (line.isascii() and line.isdigit())]
    if wrong:
        raise ValueError(f'{path} must hold the number of a row in each line, but holds {wrong[0]!r}')
    rows = [int(line) for line in lines]
    if len(rows) != NUM_MAPPED_CLASSES or len(set(rows)) != len(rows):
        raise ValueError(
            f'{path} must hold {NUM_MAPPED_CLASSES} distinct rows, but holds {len(rows)}, {len(set(rows))} distinct'
        )
    return rows
