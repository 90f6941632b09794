"""Heads of detectors; mmdet is imported when one is built."""

from ...registry import MODELS


@MODELS.register_module(name='RetinaHead')
def build_retina_head(**kwargs):
    """Build :class:`vil_mm.models.dense_heads.retina_head.RetinaHead`; see there."""
    from .retina_head import RetinaHead

    return RetinaHead(**kwargs)


@MODELS.register_module(name='RPNHead')
def build_rpn_head(**kwargs):
    """Build :class:`vil_mm.models.dense_heads.rpn_head.RPNHead`; see there."""
    from .rpn_head import RPNHead

    return RPNHead(**kwargs)
