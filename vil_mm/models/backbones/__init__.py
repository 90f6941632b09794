"""Backbones, one family per file, each for all tasks."""

from .dwnet import DWNet
from .vil import ViL

__all__ = ['DWNet', 'ViL']
