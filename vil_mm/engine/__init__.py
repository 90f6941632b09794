"""What a training run needs beside the model."""

from .hooks import CheckFiniteLossHook, RandomShiftSwitchHook
from .optim_wrappers import CPUAmpOptimWrapper

__all__ = ['CPUAmpOptimWrapper', 'CheckFiniteLossHook', 'RandomShiftSwitchHook']
