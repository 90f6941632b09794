"""Backbones, and the attentions and layers that they are made of."""

from .._extras import require

require('mmengine')
require('mmcv')

from .attentions import *  # noqa: E402, F403
from .backbones import *  # noqa: E402, F403
from .dense_heads import build_retina_head, build_rpn_head  # noqa: E402, F401
