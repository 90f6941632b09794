"""Backbones, one family per file, each for all tasks."""

from .vil import ViL
from .vitae_v2 import ViTAEv2

__all__ = ['ViL', 'ViTAEv2']
