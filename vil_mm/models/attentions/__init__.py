"""Attention mechanisms, one per file, all with the interface of :class:`BaseAttention`."""

from .full_attention import FullAttention
from .linear_attention import LinearAttention
from .linformer_attention import LinformerAttention
from .performer_attention import PerformerAttention
from .sliding_window_attention import SlidingWindowAttention
from .spatial_reduction_attention import SpatialReductionAttention
from .varied_size_window_attention import VariedSizeWindowAttention
from .window_attention import WindowAttention

__all__ = [
    'FullAttention',
    'LinearAttention',
    'LinformerAttention',
    'PerformerAttention',
    'SlidingWindowAttention',
    'SpatialReductionAttention',
    'VariedSizeWindowAttention',
    'WindowAttention',
]
