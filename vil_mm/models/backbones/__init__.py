"""Backbones, one family per file, each for all tasks."""

from .l2vit import L2ViT
from .vil import ViL

__all__ = ['L2ViT', 'ViL']
