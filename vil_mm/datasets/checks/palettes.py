"""Palettes of label maps, whose colors tell what a value means."""

import io
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from .messages import some, stop, warn

Color = tuple[int, ...]
INDEXED = 3  # color type in the header of a PNG file


class Colored(NamedTuple):
    """A label map with a palette.

    Args:
        where (str): Name of its data loader, for messages.
        path (Path): The label map.
        palette (list[Color]): The color of each value.
        values (list[int]): The values in it that are not shown in a shade of
            gray, as in label maps without a palette.
    """

    where: str
    path: Path
    palette: list[Color]
    values: list[int]


def read_palette(content: bytes) -> list[Color]:
    """Read the color of each value in a PNG file; none if it has no palette.

    Args:
        content (bytes): The file.
    """
    if content[1:4] != b'PNG' or content[25] != INDEXED:
        return []
    with Image.open(io.BytesIO(content)) as image:
        palette = image.palette.palette
    return list(zip(palette[::3], palette[1::3], palette[2::3]))


def make_colored(where: str, path: Path, palette: list[Color], values: Sequence[int]) -> Colored:
    """Put together a label map, with all of its values."""
    return Colored(where, path, palette, [v for v in values if v < len(palette) and len(set(palette[v])) > 1])


def check_palettes(maps: Sequence[Colored]) -> None:
    """Check that the colors in no label map stand for other values in most label maps, of all data loaders.

    Args:
        maps (Sequence[Colored]): The label maps.

    Raises:
        ValueError: If all colors in a label map are in others too, and some
            stand for other values there.
    """
    places: defaultdict[Color, Counter] = defaultdict(Counter)
    palettes: defaultdict[Color, set] = defaultdict(set)
    for one in maps:
        for value in one.values:
            places[one.palette[value]][value] += 1
            palettes[one.palette[value]].add(tuple(one.palette))
    usual = {color: count.most_common(1)[0][0] for color, count in places.items()}
    for where in dict.fromkeys(one.where for one in maps):
        moved = []
        for one in maps:
            # not the colors of label maps that are drawn in colors of their own
            known = {color: usual[color] for color in one.palette if palettes[color] - {tuple(one.palette)}}
            moved += find_moved([one], known) if one.where == where else []
        stop(
            where,
            moved,
            'label maps have palettes in which the colors of the others stand for other values',
            'give all the same palette and the values that belong to it',
        )


def warn_of_palettes(where: str, maps: Sequence[Colored], usual: Mapping[Color, int]) -> None:
    """Warn of label maps whose colors are those of other classes in the dataset's palette.

    Args:
        where (str): Name of the data loader, for messages.
        maps (Sequence[Colored]): The label maps of a dataset.
        usual (Mapping[Color, int]): The values of colors, by the dataset.
    """
    what = 'label maps have palettes in which the colors of classes, as the dataset has them, stand for other values'
    warn(where, find_moved(maps, usual), what)


def find_moved(maps: Sequence[Colored], usual: Mapping[Color, int]) -> list[str]:
    """Describe the label maps in which all colors are usual ones, but some stand for other values.

    Args:
        maps (Sequence[Colored]): The label maps.
        usual (Mapping[Color, int]): The usual values of colors.
    """
    moved = []
    for one in maps:
        colors = {value: one.palette[value] for value in one.values}
        others = [
            f'{color} is {value}, not {usual[color]}'
            for value, color in colors.items()
            # a palette may have a color twice
            if color in usual and color not in one.palette[usual[color] : usual[color] + 1]
        ]
        if others and usual.keys() >= set(colors.values()):
            moved.append(f'{one.path}: {some(others)}')
    return moved
