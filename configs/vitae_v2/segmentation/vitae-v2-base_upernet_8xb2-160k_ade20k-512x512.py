# The publication's segmenters are not released: these are the usual settings of UPerNet.
_base_ = [
    '../../_base_/models/upernet.py',
    '../../_base_/datasets/ade20k_512.py',
    '../../_base_/schedules/upernet_160k_adamw.py',
    '../../_base_/seg_runtime.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.ViTAEv2',
        arch='base',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vitae-v2-base_in1k.pth', prefix='backbone.'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
