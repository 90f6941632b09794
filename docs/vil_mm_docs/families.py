"""A picture of each family for its page: what one token sees, found by differentiating the package's own modules.

``python -m vil_mm_docs.families``, run in ``docs/``, draws them all anew.
"""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from vil_mm.models import DWNet, L2ViT, ViL, ViTAEv2
from vil_mm.models.attentions import VariedSizeWindowAttention, WindowAttention
from vil_mm.ops import to_map, to_tokens

from .pictures import COLORS, HIDDEN, QUERY, SEEN, legend, save

FOLDER = Path(__file__).parents[1] / 'images/families'
#: Names of the colors, by their place in ``COLORS``.
LEGEND = {SEEN: 'reaches the token', QUERY: 'the token'}
#: Colors of predicted windows, one per head.
HEAD_COLORS = ['#c8443c', '#2f7d4f', '#7a4fa3']
#: Row and column of the token whose windows are predicted.
VARIED_QUERY = 11, 8
#: The kinds of convolutions of DWNet.
TITLES = dict(
    static='DWNet: a channel has one kernel',
    dynamic='Dynamic-DWNet: a kernel for each image',
    inhomogeneous='inhomogeneous: a kernel for each pixel',
)


def draw(folder: Path) -> None:
    """Draw the pictures of all families into a folder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        makers = dict(vil=draw_vil, l2vit=draw_l2vit, vitae_v2=draw_vitae_v2, swin_vsa=draw_swin_vsa, dwnet=draw_dwnet)
        save(folder, makers)


def reach(module: Callable[[Tensor], Tensor], shape: tuple[int, ...], query: tuple[int, int]) -> Tensor:
    """Find which places of a map reach one place of a module's output.

    Args:
        module (Callable[[Tensor], Tensor]): Takes and returns a map, ``(1, C, h, w)``.
        shape (tuple[int, ...]): Shape of its input.
        query (tuple[int, int]): Row and column of its output.

    Returns:
        Tensor: bool, ``(h, w)`` of the input.
    """
    x = torch.rand(shape, requires_grad=True)
    module(x)[..., query[0], query[1]].square().sum().backward()
    return x.grad.abs().sum((0, 1)) > 0


def on_map(attention: nn.Module) -> Callable[[Tensor], Tensor]:
    """Make an attention without global tokens take and return a map."""
    return lambda x: to_map(attention(to_tokens(x), tuple(x.shape[2:])), tuple(x.shape[2:]))


def paint(axes: Axes, seen: Tensor, query: tuple[int, int] | None, title: str, window: int | None = None) -> None:
    """Paint what a query sees on its map, with the borders of windows or chunks.

    Args:
        axes (Axes): Where.
        seen (Tensor): bool, ``(h, w)``.
        query (tuple[int, int], optional): The query's row and column.
        title (str): What is shown.
        window (int, optional): Height and width of a window.
    """
    cells = torch.where(seen, SEEN, HIDDEN)
    if query is not None:
        cells[query] = QUERY
    axes.imshow(cells, cmap=ListedColormap(COLORS), vmin=0, vmax=len(COLORS) - 1)
    height, width = seen.shape
    style = dict(color='black', linewidth=0.6)
    axes.hlines([row - 0.5 for row in range(0, height + 1, window or height)], -0.5, width - 0.5, **style)
    axes.vlines([column - 0.5 for column in range(0, width + 1, window or width)], -0.5, height - 0.5, **style)
    axes.set_title(title)
    axes.set(xticks=[], yticks=[], xlim=(-0.7, width - 0.3), ylim=(height - 0.3, -0.7))
    axes.set_frame_on(False)


def draw_vil() -> Figure:
    """Show what a token of each stage of ViL-Small attends to."""
    figure = Figure(figsize=(5, 5.9), layout='constrained')
    model = ViL('small').eval()
    for number, (stage, axes) in enumerate(zip(model.stages, figure.subplots(2, 2).flat), 1):
        side = 112 // 2**number
        attention, query = stage.blocks[0].attn, (side * 3 // 8, side * 5 // 8)
        num_global = attention.num_global_tokens
        x = torch.rand(1, num_global + side**2, attention.embed_dims, requires_grad=True)
        attention(x, (side, side))[0, num_global:].unflatten(0, (side, side))[query].square().sum().backward()
        seen = x.grad.abs().sum((0, 2)) > 0
        window = getattr(attention, 'window_size', None)
        kind = f'sliding window of {window}x{window} chunks' if window else 'full attention'
        paint(axes, seen[num_global:].view(side, side), query, f'stage {number}: {side}x{side} tokens,\n{kind}', window)
        axes.set_ylim(side - 0.3, -0.14 * side)
        if num_global:  # the global token, above the map
            color = COLORS[SEEN if seen[0] else HIDDEN]
            box = Rectangle((-0.5, -0.12 * side), 0.08 * side, 0.08 * side, facecolor=color, edgecolor='black')
            axes.add_patch(box)
            axes.text(0.1 * side, -0.08 * side, 'global token', va='center', fontsize=8)
    legend(figure, [SEEN, QUERY], LEGEND)
    return figure


def draw_l2vit() -> Figure:
    """Show what the parts of the two blocks that alternate in L2ViT mix."""
    figure = Figure(figsize=(5, 6.1), layout='constrained')
    local, global_ = L2ViT('nano').eval().stages[0].blocks
    shape, query = (1, local.attn.embed_dims, 28, 28), (10, 17)
    parts = {
        'local block, first:\nposition by convolution': (local.position_encodings[0], None),
        'local block, then:\nattention within windows': (on_map(local.attn), local.attn.window_size),
        'global block, first:\nlinear attention': (on_map(global_.attn), None),
        'global block, then:\nlocal concentration': (global_.local_concentration, None),
    }
    for axes, (title, (part, window)) in zip(figure.subplots(2, 2).flat, parts.items()):
        paint(axes, reach(part, shape, query), query, title, window)
    legend(figure, [SEEN, QUERY], LEGEND)
    return figure


def draw_cell(axes: Axes, title: str, boxes: dict[str, tuple[float, float]], arrows: Sequence[tuple[str, str]]) -> None:
    """Draw a cell as boxes and arrows.

    Args:
        axes (Axes): Where.
        title (str): Name of the cell.
        boxes (dict[str, tuple[float, float]]): Texts, with their centers.
        arrows (Sequence[tuple[str, str]]): From which box to which.
    """
    drawn = {}
    for text, place in boxes.items():
        style = 'circle' if text == '+' else 'round'
        box = dict(boxstyle=style, facecolor=COLORS[HIDDEN], edgecolor='black', linewidth=0.8)
        drawn[text] = axes.text(*place, text, ha='center', va='center', fontsize=8, bbox=box)
    for start, end in arrows:
        style = dict(arrowstyle='-|>', patchA=drawn[start], patchB=drawn[end], linewidth=1, color='black')
        axes.annotate('', boxes[end], boxes[start], arrowprops=style)
    axes.set(title=title, xlim=(0, 1), ylim=(-0.2, 1.2))
    axes.set_axis_off()


def draw_vitae_v2() -> Figure:
    """Show the two kinds of cells of ViTAEv2, and what their parts see."""
    figure = Figure(figsize=(5, 8.8), layout='constrained')
    grid = figure.add_gridspec(4, 2, height_ratios=[1, 1, 2.2, 2.2])
    places = {'attention': (0.56, 0.9), 'convolutions': (0.42, 0.1), '+': (0.73, 0.5), 'perceptron': (0.9, 0.5)}
    ends = [('attention', '+'), ('convolutions', '+'), ('+', 'perceptron')]
    dilated = 'dilated\nconvolutions'
    draw_cell(
        figure.add_subplot(grid[0, :]),
        'reduction cell, at the start of a stage',
        {'map': (0.06, 0.5), dilated: (0.28, 0.9), **places},
        [('map', dilated), (dilated, 'attention'), ('map', 'convolutions'), *ends],
    )
    draw_cell(
        figure.add_subplot(grid[1, :]),
        'normal cell',
        {'tokens': (0.06, 0.5), **places},
        [('tokens', 'attention'), ('tokens', '+'), ('tokens', 'convolutions'), *ends],
    )
    first = ViTAEv2('vsa-small').eval().stages[0]
    seen, query = torch.zeros(56, 56), (7, 7)
    for conv in reversed(first.embed.pyramid.convs):
        seen[reach(conv, (1, 3, 56, 56), query)] = conv.dilation[0]
    axes = figure.add_subplot(grid[2, 0])
    axes.imshow(seen, cmap=ListedColormap([COLORS[HIDDEN], '#1f4e79', '#4a86bd', '#8fbce6', '#c9dff4']))
    axes.set(title='dilated convolutions: the pixels\nof a token, dilations 1 to 4', xticks=[], yticks=[])
    shape, place = (1, first.blocks[0].attn.embed_dims, 21, 21), (10, 10)
    convs = reach(first.blocks[0].convs, shape, place)
    paint(figure.add_subplot(grid[2, 1]), convs, place, 'normal cell: convolutions\nbeside the attention')
    draw_windows(figure.add_subplot(grid[3, 0]), figure.add_subplot(grid[3, 1]))
    legend(figure, [SEEN, QUERY], LEGEND)
    return figure


def draw_windows(fixed: Axes, varied: Axes) -> None:
    """Show a token's fixed window, and predicted windows of three heads."""
    attention = predicting_attention()
    window, shape = attention.window_size, (1, attention.embed_dims, 21, 21)
    plain = WindowAttention(attention.embed_dims, attention.num_heads, window_size=window)
    paint(fixed, reach(on_map(plain), shape, VARIED_QUERY), VARIED_QUERY, 'a fixed window', window)
    nothing = torch.zeros(21, 21, dtype=torch.bool)
    paint(varied, nothing, VARIED_QUERY, 'the windows that three heads\npredict', window)
    for color, *points in zip(HEAD_COLORS, *predicted_points(attention)):
        ys, xs = (axis.round(decimals=3).tolist() for axis in points)
        varied.plot(xs * window, [y for y in ys for _ in xs], '.', color=color, markersize=2.5)
        corners = [(xs[0], ys[0]), (xs[-1], ys[0]), (xs[-1], ys[-1]), (xs[0], ys[-1]), (xs[0], ys[0])]
        varied.plot(*zip(*corners), color=color, linewidth=1.5)


def predicting_attention() -> VariedSizeWindowAttention:
    """Make an attention with three heads, for which the predictions are chosen here."""
    attention = VariedSizeWindowAttention(8 * len(HEAD_COLORS), len(HEAD_COLORS), window_size=7)
    offsets = [(1.2, -1.2), (-1.2, 0.3), (0.9, 1.35)]  # horizontal and vertical
    scales = [(-0.35, -0.35), (0.1, 0.5), (0.3, -0.1)]
    with torch.no_grad():
        attention.predict.weight.zero_()
        attention.predict.bias.copy_(torch.tensor([offsets, scales]).flatten())
    return attention


def predicted_points(attention: VariedSizeWindowAttention) -> tuple[Tensor, Tensor]:
    """Find the rows and columns, each ``(heads, window_size)``, that the middle window of a 21x21 map samples."""
    with torch.no_grad():
        rows, columns = attention._sampling_points(torch.zeros(1, 21, 21, attention.embed_dims))
    return rows[4], columns[4]  # of the windows, three by three


def draw_swin_vsa() -> Figure:
    """Show a fixed window, as Swin Transformer has it, and predicted ones."""
    figure = Figure(figsize=(5, 3.1), layout='constrained')
    draw_windows(*figure.subplots(1, 2))
    legend(figure, [SEEN, QUERY], LEGEND)
    return figure


def draw_dwnet() -> Figure:
    """Show what a depthwise convolution sees, and where its kernels come from."""
    figure = Figure(figsize=(5, 7.4), layout='constrained')
    view, *kinds = figure.subfigures(4, 1, height_ratios=[2.1, 1, 1, 1])
    fixed, moving = view.subplots(1, 2)
    query, places = (8, 12), [(3, 3), (10, 10), (17, 17)]
    images = 3 * (torch.randn(2, 32, 1, 1) + torch.randn(2, 32, 21, 21))
    attention = WindowAttention(32, 1, window_size=7)
    paint(fixed, reach(on_map(attention), (1, 32, 21, 21), query), query, 'window attention,\nfor comparison', 7)
    mixers = {kind: DWNet('nano', conv_type=kind).eval().stages[0].blocks[0].mixer.depthwise for kind in TITLES}
    seen = reach(mixers['static'], (1, 32, 21, 21), query)
    paint(moving, seen, query, 'depthwise 7x7 convolution,\nin all three models')
    with torch.no_grad():
        kernels = dict(
            static=mixers['static'].weight.detach()[None, :, 0, ..., None, None].expand(2, -1, -1, -1, 21, 21),
            dynamic=mixers['dynamic'].image_kernels(images.mean((2, 3), keepdim=True)).expand(-1, -1, -1, -1, 21, 21),
            inhomogeneous=mixers['inhomogeneous'].pixel_kernels(images),
        )
    for part, (kind, title) in zip(kinds, TITLES.items()):
        part.suptitle(title, fontsize=9)
        for axes, (image, (row, column)) in zip(part.subplots(1, 6).flat, product((0, 1), places)):
            axes.imshow(kernels[kind][image, 0, ..., row, column], cmap='Blues')
            axes.set(xticks=[], yticks=[])
            axes.set_xlabel(f'image {image + 1}' if (row, column) == places[1] else ' ', fontsize=8)
    return figure


if __name__ == '__main__':
    draw(FOLDER)
