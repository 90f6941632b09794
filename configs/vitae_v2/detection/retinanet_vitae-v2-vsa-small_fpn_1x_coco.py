_base_ = [
    '../../_base_/models/retinanet_fpn.py',
    '../../_base_/datasets/coco_detection.py',
    '../../_base_/schedules/coco_1x_adamw_no-norm-decay.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.ViTAEv2',
        arch='vsa-small',
        attn_cfg=dict(padding='both', swap_window_counts=True),  # as published
        out_indices=(1, 2, 3),
        drop_path_rate=0.15,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vitae-v2-vsa-small_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
