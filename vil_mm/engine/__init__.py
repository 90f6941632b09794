"""What a training run needs besides the model and the data."""

from .._extras import require

require('mmengine')
require('mmcv')

from .hooks import *  # noqa: E402, F403
from .hooks import __all__ as _hooks  # noqa: E402
from .optimizers import *  # noqa: E402, F403
from .optimizers import __all__ as _optimizers  # noqa: E402

__all__ = [*_hooks, *_optimizers]
