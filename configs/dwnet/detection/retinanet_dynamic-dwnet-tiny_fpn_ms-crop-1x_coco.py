_base_ = [
    '../../_base_/models/retinanet_fpn.py',
    '../../_base_/datasets/coco_detection_ms-crop.py',
    '../../_base_/schedules/coco_1x_adamw_no-norm-decay.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.DWNet',
        arch='tiny',
        conv_type='dynamic',
        out_indices=(1, 2, 3),
        pad_size_divisor=7,  # as published
        output_norm='each',
        drop_path_rate=0.2,
        norm_cfg=dict(type='SyncBN'),
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/dynamic-dwnet-tiny_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
