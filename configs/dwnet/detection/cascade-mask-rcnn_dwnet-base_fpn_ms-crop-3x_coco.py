_base_ = [
    '../../_base_/models/cascade-mask-rcnn_fpn.py',
    '../../_base_/datasets/coco_instance_ms-crop.py',
    '../../_base_/schedules/coco_3x_adamw_no-norm-decay.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.DWNet',
        arch='base',
        pad_size_divisor=7,  # as published
        output_norm='each',
        drop_path_rate=0.3,
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/dwnet-base_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
