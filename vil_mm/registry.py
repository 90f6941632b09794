"""Registries with the scope ``vil_mm``, children of mmengine's.

Each imports its modules when a name of the scope is first looked up, so that
``type='vil_mm.ViL'`` works in any OpenMMLab project without ``custom_imports``.
"""

from ._extras import require

require('mmengine')

from mmengine.registry import DATASETS as MMENGINE_DATASETS  # noqa: E402
from mmengine.registry import HOOKS as MMENGINE_HOOKS  # noqa: E402
from mmengine.registry import MODELS as MMENGINE_MODELS  # noqa: E402
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS  # noqa: E402
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS  # noqa: E402
from mmengine.registry import Registry  # noqa: E402

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='vil_mm', locations=['vil_mm.models'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='vil_mm', locations=['vil_mm.datasets.zip_dataset'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='vil_mm', locations=['vil_mm.engine'])
OPTIM_WRAPPERS = Registry('optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='vil_mm', locations=['vil_mm.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='vil_mm',
    locations=['vil_mm.engine'],
)
