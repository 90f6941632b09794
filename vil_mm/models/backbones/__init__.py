"""Backbones, one family per file, each for all tasks."""

from .vil import ViL

__all__ = ['ViL']
