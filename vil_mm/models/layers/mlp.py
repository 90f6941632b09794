"""Multi-layer perceptron."""

from mmcv.cnn.bricks.transformer import FFN
from torch import nn

from ...arguments import DropPathRate, Rate, Size, check_arguments
from .linear import Linear


class MLP(FFN):
    """mmcv's FFN with two of our linear layers and a GELU, added to its input.

    Args:
        embed_dims (int): Channels of the tokens.
        hidden_dims (int): Channels between the linear layers.
        drop_rate (float): Dropout rate. Defaults to 0.
        drop_path_rate (float): Stochastic depth rate. Defaults to 0.
    """

    @check_arguments
    def __init__(
        self, embed_dims: Size, hidden_dims: Size, drop_rate: Rate = 0.0, drop_path_rate: DropPathRate = 0.0
    ) -> None:
        super().__init__(
            embed_dims,
            hidden_dims,
            act_cfg=dict(type='GELU'),
            ffn_drop=drop_rate,
            dropout_layer=dict(type='DropPath', drop_prob=drop_path_rate),
        )
        self.layers[0][0] = _take_over(self.layers[0][0])
        self.layers[1] = _take_over(self.layers[1])


def _take_over(layer: nn.Linear) -> Linear:
    """Make a layer ours without drawing its weights again."""
    ours = Linear(layer.in_features, layer.out_features, device='meta')
    ours.weight, ours.bias = layer.weight, layer.bias
    return ours
