"""Published files of L2ViT."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from .renaming import Converted, Rules, convert_model

#: Keys that may hold the weights, by the choice of raw or averaged (EMA) weights.
KEYS = {None: ['model_ema', 'model', 'state_dict'], 'ema': ['model_ema'], 'raw': ['model', 'state_dict']}
NUM_MAPPED_CLASSES = 1000

BLOCK_NAMES = {
    'cpe.([01]).proj': r'position_encodings.\1.proj',
    '(norm[123])': r'\1',
    'attn.(temperature|qkv|proj)': r'attn.\1',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
    'local_mp.(conv[12])': r'local_concentration.\1',
    'local_mp.bn': 'local_concentration.norm',
}
NAMES: Rules = {
    'downsample_layers.0.proj.proj.([0134])': r'stages.0.embed.convs.\1',
    'downsample_layers.([123]).proj': r'stages.\1.embed.projection',
    'downsample_layers.([0123]).norm': r'stages.\1.embed.norm',
    r'stages.([0123]).(\d+).': (r'stages.\1.blocks.\2.', BLOCK_NAMES),
    '(norm[0123]?)': r'\1',
}


def convert_state_dict(published: Mapping[str, Tensor], class_map: Sequence[int] | None = None) -> Converted:
    """Convert a published state dict.

    Args:
        published (Mapping[str, Tensor]): The tensors of a classifier, or of a
            detector or segmenter.
        class_map (Sequence[int], optional): The rows of the classifier's head
            to keep, in their new order. Defaults to None: all rows.

    Returns:
        Converted: The converted tensors. Nothing is left out.

    Raises:
        ValueError: If there are unknown names, or ``class_map`` does not fit
            the head.
    """
    converted, dropped = convert_model(published, NAMES, 'an L2ViT')
    if class_map is not None:
        if 'head.fc.weight' not in converted:
            raise ValueError('a class map needs the head of a classifier, but the file has none')
        num_rows = len(converted['head.fc.weight'])
        outside = [row for row in class_map if not 0 <= row < num_rows]
        if outside:
            raise ValueError(f'the class map has rows such as {outside[0]}, but the head has rows 0 to {num_rows - 1}')
        for kind in ('weight', 'bias'):
            converted[f'head.fc.{kind}'] = converted[f'head.fc.{kind}'][list(class_map)]
    return converted, dropped


def read_class_map(path: str | Path) -> list[int]:
    """Read a class map: line ``i`` is the row of class ``i`` in the larger head.

    Args:
        path (str | Path): The file.

    Returns:
        list[int]: The rows.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not hold 1000 distinct rows.
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
