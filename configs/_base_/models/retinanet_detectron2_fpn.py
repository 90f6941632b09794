# As Detectron2 computes, as far as mmdet has the options. A config adds the backbone, and the neck's in_channels.
_base_ = './retinanet_fpn.py'

model = dict(
    neck=dict(relu_before_extra_convs=True),
    bbox_head=dict(
        type='vil_mm.RetinaHead',
        anchor_generator=dict(scale_major=False),
        # boxes are clipped after the suppression of overlaps, by the head
        bbox_coder=dict(clip_border=False),
    ),
)
