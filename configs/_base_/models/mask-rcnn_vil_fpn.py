_base_ = './mask-rcnn_detectron2_fpn.py'

model = dict(
    backbone=dict(
        type='vil_mm.ViL',
        arch='small',
        img_size=1344,  # the largest image, 1333, rounded up to the last stride
        attn_cfg=dict(type='vil_mm.SlidingWindowAttention'),
        position_fit='crop',
        partial_patches='drop',
        output_norm=None,
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
