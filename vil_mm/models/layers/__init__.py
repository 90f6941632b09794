"""The layers that attentions and backbones are made of."""

from .base_embedding import BaseEmbedding as BaseEmbedding
from .conv_position_encoding import ConvPositionEncoding as ConvPositionEncoding
from .depthwise_conv import DepthwiseConv as DepthwiseConv
from .dynamic_conv import DynamicDepthwiseConv as DynamicDepthwiseConv
from .dynamic_conv import InhomogeneousDepthwiseConv as InhomogeneousDepthwiseConv
from .linear import Linear as Linear
from .loading import CheckpointError as CheckpointError
from .loading import Comparison as Comparison
from .loading import ResizableModule as ResizableModule
from .loading import abbreviate as abbreviate
from .loading import adapt_channels as adapt_channels
from .loading import compare as compare
from .loading import skip_other_shapes as skip_other_shapes
from .maps import grid_of as grid_of
from .maps import pad_to_multiple as pad_to_multiple
from .maps import to_channels_last as to_channels_last
from .mlp import MLP as MLP
from .norms import build_token_norm as build_token_norm
from .norms import norm_tokens as norm_tokens
from .patch_embedding import PatchEmbedding as PatchEmbedding
from .patch_merging import PatchMerging as PatchMerging
from .pointwise_conv import PointwiseConv as PointwiseConv
from .position_embedding import AbsolutePositionEmbedding as AbsolutePositionEmbedding
from .position_embedding import resize_positions as resize_positions
from .relative_position_bias import RelativePositionBias as RelativePositionBias
from .relative_position_bias import resize_bias_table as resize_bias_table
