from .loading import skip_other_shapes
from .position_embedding import AbsolutePositionEmbedding, resize_positions
from .relative_position_bias import RelativePositionBias, resize_bias_table

__all__ = [
    'AbsolutePositionEmbedding',
    'RelativePositionBias',
    'resize_bias_table',
    'resize_positions',
    'skip_other_shapes',
]
