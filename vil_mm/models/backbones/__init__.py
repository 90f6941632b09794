"""Backbones, one family per file, each for all tasks."""

from .dwnet import DWNet
from .l2vit import L2ViT
from .vil import ViL
from .vitae_v2 import ViTAEv2

__all__ = ['DWNet', 'L2ViT', 'ViL', 'ViTAEv2']
