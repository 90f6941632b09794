"""The schedule of stochastic depth."""

from collections.abc import Sequence


def drop_path_rates(rate: float, depths: Sequence[int], starts: Sequence[int] | None = None) -> list[list[float]]:
    """Spread stochastic depth over the blocks of all stages, growing linearly from 0.

    Args:
        rate (float): Rate of the last block.
        depths (Sequence[int]): Blocks of each stage.
        starts (Sequence[int], optional): Where each stage starts in the
            schedule, counted in blocks. Defaults to None: after the blocks of
            all stages before it. The published ViTAEv2 starts after those of
            the preceding stage only, so that its stages overlap.

    Returns:
        list[list[float]]: The rate of each block, by stage.
    """
    steps = max(1, sum(depths) - 1)
    if starts is None:
        starts = [sum(depths[:stage]) for stage in range(len(depths))]
    return [[rate * (start + block) / steps for block in range(depth)] for start, depth in zip(starts, depths)]
