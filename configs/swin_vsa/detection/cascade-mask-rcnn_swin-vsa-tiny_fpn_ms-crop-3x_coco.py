# ViTAEv2*-VSA's recipe, with the stochastic depth of mmdet's Swin.
_base_ = [
    '../../_base_/models/cascade-mask-rcnn_fpn.py',
    '../../_base_/datasets/coco_instance_ms-crop.py',
    '../../_base_/schedules/coco_3x_adamw_no-norm-decay.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.SwinVSA',
        arch='tiny',
        out_indices=(0, 1, 2, 3),
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/swin-vsa-tiny_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
