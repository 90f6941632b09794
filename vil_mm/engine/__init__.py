"""What a training run needs beside the model."""

from .._extras import require

require('mmengine')
require('mmcv')

from .hooks import *  # noqa: E402, F403
from .hooks import __all__ as _hooks  # noqa: E402
from .optim_constructors import LayerDecayOptimWrapperConstructor  # noqa: E402
from .optim_wrappers import CPUAmpOptimWrapper  # noqa: E402

__all__ = ['CPUAmpOptimWrapper', 'LayerDecayOptimWrapperConstructor', *_hooks]
