"""The base of all embeddings."""

from torch import Tensor

from ...arguments import Count, Size, check_arguments
from .loading import ResizableModule


class BaseEmbedding(ResizableModule):
    """Base of the embeddings, which turn a feature map into the tokens of a stage.

    Args:
        embed_dims (int): Channels of the tokens.
        stride (int): Height and width of the patch that becomes a token, in
            pixels of the map.
        num_global_tokens (int): Global tokens, which come first. Defaults to 0.
    """

    @check_arguments
    def __init__(self, embed_dims: Size, stride: Size, num_global_tokens: Count = 0) -> None:
        super().__init__()
        self.embed_dims = embed_dims
        self.stride = stride
        self.num_global_tokens = num_global_tokens

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Embed a feature map.

        Args:
            x (Tensor): ``(N, C, H, W)``.

        Returns:
            tuple[Tensor, tuple[int, int]]: Tokens ``(N, G + h * w, C')``,
            global tokens first, and the grid ``(h, w)``.
        """
        raise NotImplementedError
