"""The base of all attentions."""

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from ...arguments import Count, Rate, Size, check_arguments
from ...registry import InitCfg
from ..layers import Linear, ResizableModule

SETTING_TYPES = bool, int, float, str, tuple


class BaseAttention(ResizableModule):
    """Base of the attentions over ``G`` global tokens and a grid of ``h x w`` tokens.

    A backbone gives every attention ``embed_dims``, ``num_heads``,
    ``num_global_tokens`` and ``grid_size``; it may also give ``proj_drop``,
    ``window_size`` or ``in_dims``. An attention that does not use one of these
    ignores it.

    Args:
        embed_dims (int): Channels.
        num_heads (int): Heads, a divisor of ``embed_dims``.
        num_global_tokens (int): Global tokens, which come first. Defaults to 0.
        grid_size (tuple[int, int], optional): Height and width of the grid that
            the backbone is built for, in tokens. Defaults to None: unknown.
        window_size (int, optional): Height and width of a window, in tokens.
            Defaults to None: the attention has no windows.
        in_dims (int, optional): Channels of the input. Defaults to None:
            ``embed_dims``.
        qkv_bias (bool): Whether the projections of queries, keys and values
            have a bias. Defaults to True.
        attn_drop (float): Dropout rate of the attention weights. Defaults to 0.
        proj_drop (float): Dropout rate of the output. Defaults to 0.
        init_cfg (dict | Sequence[dict], optional): As in mmengine. Defaults to
            None.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument is out of its range.
    """

    #: Whether the attention takes ``relative_position_bias`` (bool), which a backbone may give it.
    has_relative_position_bias = False
    #: The argument that ``f`` means in a published arch string of ViL, or None if the attention ignores it.
    arch_feature: str | None = None

    @check_arguments
    def __init__(
        self,
        embed_dims: Size,
        num_heads: Size,
        *,
        num_global_tokens: Count = 0,
        grid_size: tuple[Size, Size] | None = None,
        window_size: Size | None = None,
        in_dims: Size | None = None,
        qkv_bias: bool = True,
        attn_drop: Rate = 0.0,
        proj_drop: Rate = 0.0,
        init_cfg: InitCfg | Sequence[InitCfg] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if embed_dims % num_heads:
            raise ValueError(f'num_heads={num_heads} must divide embed_dims={embed_dims}')
        self.embed_dims = embed_dims
        self.in_dims = in_dims or embed_dims
        self.num_heads = num_heads
        self.num_global_tokens = num_global_tokens
        self.grid_size = None if grid_size is None else tuple(grid_size)
        self.window_size = window_size
        self.attn_drop = attn_drop
        self.qkv = Linear(self.in_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = Linear(embed_dims, embed_dims)
        self.proj_drop = nn.Dropout(proj_drop)

    def extra_repr(self) -> str:
        """List the settings."""
        settings = {name: value for name, value in vars(self).items() if name != 'training' and name[0] != '_'}
        return ', '.join(f'{name}={value!r}' for name, value in settings.items() if isinstance(value, SETTING_TYPES))

    @property
    def dropout_p(self) -> float:
        """Dropout rate of the attention weights in the current mode."""
        return self.attn_drop if self.training else 0.0

    def check_tokens(self, x: Tensor, hw_shape: tuple[int, int]) -> None:
        """Check that ``x`` holds the global tokens and those of ``hw_shape``.

        Raises:
            ValueError: If it does not.
        """
        h, w = hw_shape
        expected = self.num_global_tokens + h * w
        if x.ndim != 3 or x.shape[1] != expected or x.shape[2] != self.in_dims:
            raise ValueError(
                f'x has shape {tuple(x.shape)}, must be (N, {expected}, {self.in_dims}): '
                f'{self.num_global_tokens} global tokens and a grid of hw_shape={tuple(hw_shape)}'
            )

    def split_heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """Split projected tokens into parts, such as queries, keys and values, and each part into heads.

        Args:
            x (Tensor): ``(N, L, parts * embed_dims)``.

        Returns:
            tuple[Tensor, ...]: The parts, each ``(N, heads, L, d)``, as views.
        """
        return rearrange(x, 'n l (p h d) -> p n h l d', h=self.num_heads, d=self.embed_dims // self.num_heads).unbind(0)

    def forward(self, x: Tensor, hw_shape: tuple[int, int]) -> Tensor:
        """Attend.

        Args:
            x (Tensor): ``(N, G + h * w, in_dims)``, global tokens first, grid row-major.
            hw_shape (tuple[int, int]): Grid height and width, in tokens.

        Returns:
            Tensor: ``(N, G + h * w, embed_dims)``, of the dtype of ``x``.

        Raises:
            ValueError: If ``x`` does not hold ``G + h * w`` tokens.
        """
        raise NotImplementedError


def merge_heads(x: Tensor) -> Tensor:
    """Join the heads: ``(N, heads, L, d)`` to ``(N, L, heads * d)``."""
    return rearrange(x, 'n h l d -> n l (h d)')
