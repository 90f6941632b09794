"""The region proposal network's head as Detectron2 runs it."""

from mmdet.models.dense_heads import RPNHead as MMDetRPNHead
from torch import Tensor

from .precision import at_least_float32


class RPNHead(MMDetRPNHead):
    """mmdet's head, which decodes boxes and suppresses overlaps in float32 under mixed precision too.

    As the published detectors do. mmdet does it in the precision of the head,
    which on the CPU, in bfloat16, it cannot.
    """

    def predict_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args, **kwargs) -> list:
        """Propose boxes; as mmdet's, in float32 at least."""
        return super().predict_by_feat(at_least_float32(cls_scores), at_least_float32(bbox_preds), *args, **kwargs)
