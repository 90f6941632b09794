_base_ = [
    '../../_base_/models/cascade-mask-rcnn_fpn.py',
    '../../_base_/datasets/coco_instance_ms-crop.py',
    '../../_base_/schedules/coco_3x_adamw_no-norm-decay.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.ViTAEv2',
        arch='vsa-small',
        attn_cfg=dict(padding='both', swap_window_counts=True),  # as published
        drop_path_rate=0.25,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vitae-v2-vsa-small_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
