from .checkpointing import checkpoint_with_statistics
from .conv_position_encoding import ConvPositionEncoding
from .loading import skip_other_shapes
from .position_embedding import AbsolutePositionEmbedding, resize_positions
from .relative_position_bias import RelativePositionBias, resize_bias_table
from .windows import attend_in_windows, pad_to_windows

__all__ = [
    'AbsolutePositionEmbedding',
    'ConvPositionEncoding',
    'RelativePositionBias',
    'attend_in_windows',
    'checkpoint_with_statistics',
    'pad_to_windows',
    'resize_bias_table',
    'resize_positions',
    'skip_other_shapes',
]
