from .check_finite_loss import CheckFiniteLossHook
from .keep_first_classes import KeepFirstClassesHook
from .performer_redraw import PerformerRedrawHook
from .random_shift_switch import RandomShiftSwitchHook

__all__ = ['CheckFiniteLossHook', 'KeepFirstClassesHook', 'PerformerRedrawHook', 'RandomShiftSwitchHook']
