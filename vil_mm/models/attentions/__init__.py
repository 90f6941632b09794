"""Attention mechanisms, one per file, all with the interface of :class:`BaseAttention`."""

from .base_attention import BaseAttention as BaseAttention
from .full_attention import FullAttention as FullAttention
from .linear_attention import LinearAttention as LinearAttention
from .linformer_attention import LinformerAttention as LinformerAttention
from .performer_attention import PerformerAttention as PerformerAttention
from .sliding_window_attention import SlidingWindowAttention as SlidingWindowAttention
from .spatial_reduction_attention import SpatialReductionAttention as SpatialReductionAttention
from .varied_size_window_attention import VariedSizeWindowAttention as VariedSizeWindowAttention
from .window_attention import WindowAttention as WindowAttention
