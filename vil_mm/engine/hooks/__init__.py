from .check_finite_loss import CheckFiniteLossHook
from .random_shift_switch import RandomShiftSwitchHook

__all__ = ['CheckFiniteLossHook', 'RandomShiftSwitchHook']
