"""Absolute position embedding, factored into rows and columns."""

from typing import Annotated

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model.weight_init import trunc_normal_
from torch import Tensor, nn

from ...arguments import Count, Size, check_arguments, dims, one_of
from .loading import ResizableModule


@check_arguments
def resize_positions(positions: Annotated[Tensor, dims('1', 'L', 'C')], length: Size) -> Tensor:
    """Resample an embedding along its length, linearly (half-pixel centers, no antialiasing).

    Args:
        positions (Tensor): ``(1, L, C)``.
        length (int): The new length.

    Returns:
        Tensor: ``(1, length, C)``.
    """
    if not torch.compiler.is_compiling() and positions.shape[1] == length:  # a graph serves other lengths too
        return positions
    return F.interpolate(positions.mT, size=length, mode='linear', align_corners=False).mT


class AbsolutePositionEmbedding(ResizableModule):
    """Learned position embedding: half of the channels encode the row, half the column.

    Positions of another grid size in a checkpoint are resampled.

    Source: Multi-Scale Vision Longformer (arXiv 2103.15358).

    Args:
        embed_dims (int): Channels, an even number.
        grid_size (tuple[int, int]): Grid height and width, in tokens.
        num_global_tokens (int): Global tokens, each with its own position.
            Defaults to 0.
        fit (str): How the positions fit a grid of another size.
            ``'interpolate'``: they are resampled; ``'crop'``: the first rows
            and columns are used, as in the published detectors, which are built
            for the largest image. Defaults to ``'interpolate'``.

    Raises:
        ValueError: If ``embed_dims`` is odd, or ``fit`` is unknown.
    """

    @check_arguments
    def __init__(
        self,
        embed_dims: Size,
        grid_size: tuple[Size, Size],
        num_global_tokens: Count = 0,
        fit: Annotated[str, one_of('interpolate', 'crop')] = 'interpolate',
    ) -> None:
        super().__init__()
        if embed_dims % 2:
            raise ValueError(f'embed_dims={embed_dims} must be even: half is for rows, half for columns')
        self.fit = fit
        self.rows = nn.Parameter(torch.zeros(1, grid_size[0], embed_dims // 2))
        self.columns = nn.Parameter(torch.zeros(1, grid_size[1], embed_dims // 2))
        self.global_tokens = None
        if num_global_tokens:
            self.global_tokens = nn.Parameter(torch.zeros(1, num_global_tokens, embed_dims))

    def init_weights(self) -> None:
        """Truncated normal, standard deviation 0.02."""
        super().init_weights()
        for parameter in self.parameters():
            trunc_normal_(parameter, std=0.02)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Add the positions.

        Args:
            x (Tensor): ``(N, G + h * w, C)``, global tokens first, grid row-major.
            hw_shape (tuple[int, int]): Grid height and width, in tokens.

        Returns:
            Tensor: Same shape as ``x``.

        Raises:
            ValueError: If ``fit='crop'`` and the grid is larger than ``grid_size``.
        """
        h, w = hw_shape
        if self.fit == 'crop':
            built = self.rows.shape[1], self.columns.shape[1]
            if h > built[0] or w > built[1]:
                raise ValueError(
                    f'hw_shape={tuple(hw_shape)}, but the absolute position is built for a grid of {built}, and it can '
                    "only be cropped. Set img_size to the largest image, or position_fit='interpolate'."
                )
            rows, columns = self.rows[:, :h], self.columns[:, :w]
        else:
            rows, columns = resize_positions(self.rows, h), resize_positions(self.columns, w)
        rows = rows[:, :, None].expand(-1, -1, w, -1)
        columns = columns[:, None].expand(-1, h, -1, -1)
        positions = torch.cat([rows, columns], dim=-1).flatten(1, 2)
        if self.global_tokens is not None:
            positions = torch.cat([self.global_tokens, positions], dim=1)
        return x + positions

    def can_resize(self, name: str, tensor: Tensor) -> bool:
        """Rows and columns can be resampled; see :meth:`ResizableModule.can_resize`."""
        own = getattr(self, name)
        return (
            name in ('rows', 'columns')
            and tensor.ndim == 3
            and tensor.shape[::2] == own.shape[::2]
            and tensor.numel() > 0
        )

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        for name in ('rows', 'columns'):
            key, own = prefix + name, getattr(self, name)
            loaded = state_dict.get(key)
            if loaded is not None and loaded.shape != own.shape and self.can_resize(name, loaded):
                state_dict[key] = resize_positions(loaded, own.shape[1])
                print_log(f'{key}: resized from {loaded.shape[1]} to {own.shape[1]} positions', logger='current')
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
