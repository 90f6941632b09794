"""Backbones, one family per file, each for all tasks."""

from .dwnet import DWNet as DWNet
from .l2vit import L2ViT as L2ViT
from .swin_vsa import SwinVSA as SwinVSA
from .vil import ViL as ViL
from .vitae_v2 import ViTAEv2 as ViTAEv2
