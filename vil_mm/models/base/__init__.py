"""The skeleton of all backbones: stages, blocks, and what a family builds them from."""

from .arch import arch_settings as arch_settings
from .attention_block import AttentionBlock as AttentionBlock
from .attn_cfg import AttentionFactory as AttentionFactory
from .attn_cfg import AttnCfg as AttnCfg
from .base_backbone import BaseBackbone as BaseBackbone
from .base_backbone import OutputNorm as OutputNorm
from .base_block import MLP_RATIO as MLP_RATIO
from .base_block import BaseBlock as BaseBlock
from .base_block import Recomputed as Recomputed
from .drop_path import drop_path_rates as drop_path_rates
from .stage import Stage as Stage
from .stage import grid_sizes as grid_sizes
