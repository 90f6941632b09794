# As the published detectors compute (Detectron2), as far as mmdet has the options.
_base_ = './mask-rcnn_fpn.py'

model = dict(
    backbone=dict(
        type='vil_mm.ViL',
        arch='small',
        img_size=1344,  # the largest image, 1333, rounded up to the last stride
        attn_cfg=dict(type='vil_mm.SlidingWindowAttention'),
        position_fit='crop',
        output_norm=None,
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
    rpn_head=dict(type='vil_mm.RPNHead'),
    train_cfg=dict(
        # every object keeps its best anchor, however small their overlap
        rpn=dict(assigner=dict(min_pos_iou=0)),
        rcnn=dict(assigner=dict(match_low_quality=False)),
    ),
)
