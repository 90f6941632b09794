"""RetinaNet's head as Detectron2 runs it."""

from mmdet.models.dense_heads import RetinaHead as MMDetRetinaHead
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from .precision import at_least_float32


class RetinaHead(MMDetRetinaHead):
    """mmdet's head, whose final boxes are clipped to the image and dropped if nothing is left of them.

    For a box coder with ``clip_border=False``: overlaps are then suppressed
    between whole boxes, as the published detectors do. mmdet clips before,
    which keeps other boxes. Boxes are decoded in float32 under mixed precision
    too.
    """

    def predict_by_feat(self, cls_scores: list[Tensor], bbox_preds: list[Tensor], *args, **kwargs) -> list:
        """Detect boxes; as mmdet's, in float32 at least."""
        return super().predict_by_feat(at_least_float32(cls_scores), at_least_float32(bbox_preds), *args, **kwargs)

    def _bbox_post_process(
        self,
        results: InstanceData,
        cfg: ConfigDict,
        rescale: bool = False,
        with_nms: bool = True,
        img_meta: dict | None = None,
    ) -> InstanceData:
        results = super()._bbox_post_process(results, cfg, rescale, with_nms, img_meta)
        height, width = img_meta['ori_shape' if rescale else 'img_shape'][:2]
        results.bboxes[:, 0::2].clamp_(0, width)
        results.bboxes[:, 1::2].clamp_(0, height)
        size = results.bboxes[:, 2:] - results.bboxes[:, :2]
        return results[(size > 0).all(dim=1)]
