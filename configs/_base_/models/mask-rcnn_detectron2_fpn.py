# As Detectron2 computes, as far as mmdet has the options. A config adds the backbone, and the neck's in_channels.
_base_ = './mask-rcnn_fpn.py'

model = dict(
    rpn_head=dict(type='vil_mm.RPNHead'),
    train_cfg=dict(
        # every object keeps its best anchor, however small their overlap
        rpn=dict(assigner=dict(min_pos_iou=0)),
        rcnn=dict(assigner=dict(match_low_quality=False)),
    ),
)
