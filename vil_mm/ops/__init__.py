"""Compute kernels that depend on nothing but torch."""

from .attention import attend as attend
from .backends import BACKENDS as BACKENDS
from .bilinear_sampling import sample_bilinear as sample_bilinear
from .depthwise_conv import depthwise_conv2d as depthwise_conv2d
from .inhomogeneous_conv import inhomogeneous_conv2d as inhomogeneous_conv2d
from .linear_layer import linear as linear
from .maps import to_grid as to_grid
from .maps import to_map as to_map
from .maps import to_tokens as to_tokens
from .sliding_window_attention import sliding_window_attention as sliding_window_attention
from .windows import cut_windows as cut_windows
from .windows import fit_windows as fit_windows
from .windows import join_windows as join_windows
