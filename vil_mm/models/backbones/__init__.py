"""Backbones, one family per file, each for all tasks."""

from ..._extras import require
from ...registry import MODELS
from .dwnet import DWNet
from .l2vit import L2ViT
from .vil import ViL
from .vitae_v2 import ViTAEv2

__all__ = ['DWNet', 'L2ViT', 'ViL', 'ViTAEv2']


@MODELS.register_module(name='SwinVSA')
def build_swin_vsa(**kwargs):
    """Build :class:`vil_mm.models.backbones.swin_vsa.SwinVSA`, of mmpretrain's parts; see there."""
    require('mmpretrain')
    from .swin_vsa import SwinVSA

    return SwinVSA(**kwargs)
