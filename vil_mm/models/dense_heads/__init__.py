"""Heads of detectors; mmdet is imported when one is built."""

from ...registry import MODELS


@MODELS.register_module(name='RetinaHead')
def build_retina_head(**kwargs):
    """Build :class:`vil_mm.models.dense_heads.retina_head.RetinaHead`; see there."""
    from .retina_head import RetinaHead

    return RetinaHead(**kwargs)
