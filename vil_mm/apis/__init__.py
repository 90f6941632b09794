"""What users call: ``import vil_mm.apis`` makes the models known to mmpretrain's ``get_model`` and inferencers."""

from .._extras import require

require('mmpretrain')

from .flops import count_macs, count_published_macs  # noqa: E402
from .model_index import register_models  # noqa: E402

__all__ = ['count_macs', 'count_published_macs', 'register_models']

register_models()
