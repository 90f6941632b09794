"""Compute kernels that depend on nothing but torch."""

from .backends import BACKENDS
from .sliding_window_attention import sliding_window_attention

__all__ = ['BACKENDS', 'sliding_window_attention']
