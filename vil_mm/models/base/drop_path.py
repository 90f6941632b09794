"""The schedule of stochastic depth."""

from collections.abc import Sequence

from ...arguments import Count, Rate, Size, check_arguments


@check_arguments
def drop_path_rates(rate: Rate, depths: Sequence[Size], starts: Sequence[Count] | None = None) -> list[list[float]]:
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

    Raises:
        ValueError: If ``starts`` has not one entry per stage.
    """
    steps = max(1, sum(depths) - 1)
    if starts is None:
        starts = [sum(depths[:stage]) for stage in range(len(depths))]
    if len(starts) != len(depths):
        raise ValueError(f'starts={starts} must have one entry per stage, as depths={depths}')
    return [[rate * (start + block) / steps for block in range(depth)] for start, depth in zip(starts, depths)]
