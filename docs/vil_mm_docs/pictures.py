"""Pictures of the sliding window's chunks, neighborhoods and masks, drawn from the code that computes it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor

from vil_mm.ops.checks import MASKS
from vil_mm.ops.reference import NEIGHBOR_CHUNKS, axis_mask, chunk_offsets, key_coordinates, to_chunks

#: The grid of the pictures, which is no multiple of the window, and its window.
GRID, WINDOW = (11, 14), 3
#: Values of a picture's cells, with their colors and names.
HIDDEN, SEEN, PADDING, SEEN_PADDING, QUERY = range(5)
COLORS = ['#f4f4f4', '#7fb2e5', '#ffffff', '#f2b134', '#c8443c']
NAMES = dict(enumerate(['on the grid', 'attended to', 'padding', 'padding, attended to', 'the query']))


def draw(folder: Path) -> None:
    """Draw all pictures of the sliding window into a folder."""
    save(folder, dict(chunks=draw_chunks, masks=draw_masks, neighbors=draw_neighbors))


def save(folder: Path, makers: dict[str, Callable[[], Figure]]) -> None:
    """Draw figures into files of a folder.

    Args:
        folder (Path): The folder.
        makers (dict[str, Callable[[], Figure]]): Functions that draw, by the
            name of the file.
    """
    folder.mkdir(exist_ok=True)
    # text stays text, and the files are the same in every run
    settings = {'svg.fonttype': 'none', 'svg.hashsalt': 'vil_mm', 'font.size': 9}
    with matplotlib.rc_context(settings):
        for name, make in makers.items():
            make().savefig(folder / f'{name}.svg', metadata=dict(Date=None), bbox_inches='tight')


def seen_keys(query: tuple[int, int], mask: str, neighbors: str | int = 'all') -> Tensor:
    """Tell what a query sees.

    Args:
        query (tuple[int, int]): Its row and column on ``GRID``.
        mask (str): See :func:`vil_mm.ops.sliding_window_attention`.
        neighbors (str | int): See there.

    Returns:
        Tensor: bool, of the shape of ``GRID``, padded to whole chunks.
    """
    seen = torch.zeros([-(-size // WINDOW) * WINDOW for size in GRID], dtype=torch.bool)
    offsets = torch.tensor(chunk_offsets(neighbors)).T
    axes = []
    for length, offset, place in zip(GRID, offsets, query):
        chunk, inner = divmod(place, WINDOW)
        keys = key_coordinates(length, offset, WINDOW)[1][chunk]
        axes.append((keys, axis_mask(length, offset, WINDOW, mask)[chunk, inner]))
    for (rows, see_rows), (columns, see_columns) in zip(*(zip(*axis) for axis in axes)):
        for row, column in ((r, c) for r in rows[see_rows] for c in columns[see_columns]):
            seen[row % seen.shape[0], column % seen.shape[1]] = True
    return seen


def paint(axes: Axes, query: tuple[int, int], mask: str, neighbors: str | int = 'all') -> None:
    """Paint what a query sees on the grid."""
    seen = seen_keys(query, mask, neighbors)
    cells = torch.where(seen, SEEN_PADDING, PADDING)
    cells[: GRID[0], : GRID[1]] = torch.where(seen, SEEN, HIDDEN)[: GRID[0], : GRID[1]]
    cells[query] = QUERY
    axes.imshow(cells, cmap=ListedColormap(COLORS), vmin=0, vmax=len(COLORS) - 1)
    draw_lines(axes)


def draw_lines(axes: Axes) -> None:
    """Draw the borders of tokens, chunks and the grid."""
    rows, columns = (-(-size // WINDOW) * WINDOW for size in GRID)
    for place in range(rows + 1):
        axes.axhline(place - 0.5, color='black', linewidth=0.2 if place % WINDOW else 0.9)
    for place in range(columns + 1):
        axes.axvline(place - 0.5, color='black', linewidth=0.2 if place % WINDOW else 0.9)
    bottom, right = (size - 0.5 for size in GRID)
    axes.plot([-0.5, right, right], [bottom, bottom, -0.5], color=COLORS[QUERY], linewidth=2)
    axes.set(xticks=[], yticks=[], xlim=(-0.6, columns - 0.4), ylim=(rows - 0.4, -0.6))
    axes.set_frame_on(False)


def draw_chunks() -> Figure:
    """Number the tokens of the grid, and of each chunk."""
    figure = Figure(figsize=(5.2, 4.4), layout='constrained')
    axes = figure.subplots()
    numbers = torch.arange(GRID[0] * GRID[1], dtype=torch.float64).view(1, 1, -1, 1)
    # padding is 0, so tokens count from 1
    chunks = to_chunks(numbers + 1, GRID, WINDOW)[0, 0, ..., 0]
    cells = torch.full([-(-size // WINDOW) * WINDOW for size in GRID], PADDING)
    cells[: GRID[0], : GRID[1]] = HIDDEN
    axes.imshow(cells, cmap=ListedColormap(COLORS), vmin=0, vmax=len(COLORS) - 1)
    for row, chunk_row in enumerate(chunks):
        for column, chunk in enumerate(chunk_row):
            for inner, number in enumerate(chunk.tolist()):
                y, x = row * WINDOW + inner // WINDOW, column * WINDOW + inner % WINDOW
                if number:
                    axes.text(x, y, f'{number - 1:.0f}', ha='center', va='center', fontsize=6.5)
    draw_lines(axes)
    return figure


def draw_masks() -> Figure:
    """Show what a query near the corner sees under each mask."""
    figure = Figure(figsize=(5.2, 5.4), layout='constrained')
    for axes, mask in zip(figure.subplots(2, 2).flat, MASKS):
        paint(axes, (1, 12), mask)
        axes.set_title(f"mask='{mask}'")
    legend(figure)
    return figure


def draw_neighbors() -> Figure:
    """Show what a query in the middle sees with each choice of neighbors."""
    figure = Figure(figsize=(5.2, 2.8), layout='constrained')
    grid = figure.subplots(1, 2)
    for axes, neighbors in zip(grid, ('all', 2)):
        paint(axes, (4, 7), 'block', neighbors)
        axes.set_title(f'neighbors={neighbors!r}')
        for number, (row, column) in enumerate(NEIGHBOR_CHUNKS, 1):
            axes.text(7 + column * WINDOW, 4 + row * WINDOW, str(number), ha='center', va='center', fontsize=11)
    legend(figure, [SEEN, PADDING, QUERY])
    return figure


def legend(figure: Figure, values: Sequence[int] = tuple(NAMES), names: dict[int, str] = NAMES) -> None:
    """Name the colors of some values below a figure."""
    handles = [Patch(facecolor=COLORS[value], edgecolor='black', linewidth=0.3, label=names[value]) for value in values]
    figure.legend(handles=handles, loc='outside lower center', ncols=3, frameon=False)
