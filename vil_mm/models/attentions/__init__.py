"""Attention mechanisms, one per file, all with the interface of :class:`BaseAttention`."""

from .full_attention import FullAttention
from .sliding_window_attention import SlidingWindowAttention

__all__ = ['FullAttention', 'SlidingWindowAttention']
