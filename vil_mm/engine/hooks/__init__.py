from .check_classes import CheckClassesHook
from .check_finite_loss import CheckFiniteLossHook
from .check_labels import CheckLabelsHook
from .check_parameters import CheckParametersHook
from .check_training import CheckTrainingHook
from .draw_predictions import DrawPredictionsHook
from .follow_schedule import FollowScheduleHook
from .keep_first_classes import KeepFirstClassesHook
from .performer_redraw import PerformerRedrawHook
from .random_shift_switch import RandomShiftSwitchHook

__all__ = [
    'CheckClassesHook',
    'CheckFiniteLossHook',
    'CheckLabelsHook',
    'CheckParametersHook',
    'CheckTrainingHook',
    'DrawPredictionsHook',
    'FollowScheduleHook',
    'KeepFirstClassesHook',
    'PerformerRedrawHook',
    'RandomShiftSwitchHook',
]
