"""Run lengths of masks in COCO's format, column by column."""

from collections.abc import Sequence

import numpy as np


def measure_runs(mask: dict) -> tuple[list[float], float]:
    """Measure a mask of run lengths.

    Args:
        mask (dict): The mask, with ``size`` and ``counts``, a list or a string.

    Returns:
        tuple[list[float], float]: Box ``[x, y, w, h]`` around it, and its area;
        NaN and 0 if it is empty.
    """
    height, counts = mask['size'][0], mask['counts']
    ends = np.cumsum(decode(counts) if isinstance(counts, str) else counts)
    begins, ends = ends[0:-1:2], ends[1::2]  # every second run is of the mask
    begins, ends = begins[begins < ends], ends[begins < ends]
    if not len(begins):
        return [np.nan] * 4, 0
    left, right = begins[0] // height, (ends[-1] - 1) // height + 1
    within = begins // height == (ends - 1) // height  # the others reach from one column into the next
    top = (begins % height).min() if within.all() else 0
    bottom = ((ends - 1) % height).max() + 1 if within.all() else height
    return [left, top, right - left, bottom - top], (ends - begins).sum()


def decode(text: str) -> Sequence[int]:
    """Decode run lengths from a string, by pycocotools' format.

    Each number is written in groups of five bits, the lowest first, as
    characters from ``'0'`` on. The sixth bit tells that more groups follow. From
    the fourth number on, it is the difference to the number two before.

    Args:
        text (str): The string.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        group = ord(character) - 48
        number |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:  # negative
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    return counts
