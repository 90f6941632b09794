"""One stage of a backbone, and the grids of all stages."""

from collections.abc import Sequence

from mmengine.model import BaseModule, ModuleList
from mmengine.utils import to_2tuple
from torch import Tensor

from ...arguments import Size, check_arguments
from ..layers import BaseEmbedding
from .base_block import BaseBlock


class Stage(BaseModule):
    """An embedding, then blocks.

    Args:
        embed (BaseEmbedding): Turns a feature map into tokens.
        blocks (Sequence[BaseBlock]): Transform the tokens one after another.
    """

    @check_arguments
    def __init__(self, embed: BaseEmbedding, blocks: Sequence[BaseBlock]) -> None:
        super().__init__()
        self.embed = embed
        self.blocks = ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Encode a feature map.

        Args:
            x (Tensor): ``(N, C, H, W)``.

        Returns:
            tuple[Tensor, tuple[int, int]]: Tokens ``(N, G + h * w, C')``,
            global tokens first, and the grid ``(h, w)``.
        """
        x, hw_shape = self.embed(x)
        for block in self.blocks:
            x = block(x, hw_shape)
        return x, hw_shape


@check_arguments
def grid_sizes(
    img_size: Size | tuple[Size, Size], strides: Sequence[Size], round_up: bool = True
) -> list[tuple[int, int]]:
    """Compute the grids of all stages.

    Args:
        img_size (int | tuple[int, int]): Height and width of the images, in
            pixels.
        strides (Sequence[int]): Stride of each stage's embedding.
        round_up (bool): Whether stages pad their maps to whole patches instead
            of dropping what does not fill a patch. Defaults to True.

    Returns:
        list[tuple[int, int]]: Height and width of each stage's grid, in tokens.
    """
    h, w = to_2tuple(img_size)
    grids = []
    for stride in strides:
        h, w = (-(-size // stride) if round_up else max(1, size // stride) for size in (h, w))
        grids.append((h, w))
    return grids
