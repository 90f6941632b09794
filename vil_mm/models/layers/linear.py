"""Linear layer."""

from torch import Tensor, nn

from ...ops import linear


class Linear(nn.Linear):
    """PyTorch's linear layer, computed by :func:`vil_mm.ops.linear`."""

    def forward(self, input: Tensor) -> Tensor:
        """Transform ``(..., in_features)`` into ``(..., out_features)``."""
        return linear(input, self.weight, self.bias)
