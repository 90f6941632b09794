from .conv_position_encoding import ConvPositionEncoding
from .depthwise_conv import DepthwiseConv, depthwise_conv2d
from .dynamic_conv import DynamicDepthwiseConv, InhomogeneousDepthwiseConv
from .inhomogeneous_conv import inhomogeneous_conv2d
from .loading import skip_other_shapes
from .maps import pad_to_multiple, to_tokens
from .norms import build_token_norm
from .patch_merging import PatchMerging
from .pointwise_conv import PointwiseConv
from .position_embedding import AbsolutePositionEmbedding, resize_positions
from .relative_position_bias import RelativePositionBias, resize_bias_table
from .windows import attend_in_windows, pad_to_windows

__all__ = [
    'AbsolutePositionEmbedding',
    'ConvPositionEncoding',
    'DepthwiseConv',
    'DynamicDepthwiseConv',
    'InhomogeneousDepthwiseConv',
    'PatchMerging',
    'PointwiseConv',
    'RelativePositionBias',
    'attend_in_windows',
    'build_token_norm',
    'depthwise_conv2d',
    'inhomogeneous_conv2d',
    'pad_to_multiple',
    'pad_to_windows',
    'resize_bias_table',
    'resize_positions',
    'skip_other_shapes',
    'to_tokens',
]
