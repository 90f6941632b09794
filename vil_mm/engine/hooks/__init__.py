from .check_classes import CheckClassesHook
from .check_finite_loss import CheckFiniteLossHook
from .check_images import CheckImagesHook
from .check_labels import CheckLabelsHook
from .check_parameters import CheckParametersHook
from .check_training import CheckTrainingHook
from .draw_predictions import DrawPredictionsHook
from .exact_resume import ExactResumeHook
from .follow_schedule import FollowScheduleHook
from .keep_first_classes import KeepFirstClassesHook
from .performer_redraw import PerformerRedrawHook
from .random_shift_switch import RandomShiftSwitchHook
from .safe_checkpoint import SafeCheckpointHook
from .stop_on_signal import StopOnSignalHook

__all__ = [
    'CheckClassesHook',
    'CheckFiniteLossHook',
    'CheckImagesHook',
    'CheckLabelsHook',
    'CheckParametersHook',
    'CheckTrainingHook',
    'DrawPredictionsHook',
    'ExactResumeHook',
    'FollowScheduleHook',
    'KeepFirstClassesHook',
    'PerformerRedrawHook',
    'RandomShiftSwitchHook',
    'SafeCheckpointHook',
    'StopOnSignalHook',
]
