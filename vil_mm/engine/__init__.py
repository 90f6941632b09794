"""What a training run needs beside the model."""

from .._extras import require

require('mmengine')
require('mmcv')

from .hooks import CheckFiniteLossHook, RandomShiftSwitchHook  # noqa: E402
from .optim_wrappers import CPUAmpOptimWrapper  # noqa: E402

__all__ = ['CPUAmpOptimWrapper', 'CheckFiniteLossHook', 'RandomShiftSwitchHook']
