_base_ = [
    '../../_base_/models/upernet.py',
    '../../_base_/datasets/ade20k_512.py',
    '../../_base_/schedules/upernet_160k_adamw.py',
    '../../_base_/seg_runtime.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.DWNet',
        arch='base',
        conv_type='dynamic',
        pad_size_divisor=7,  # as published
        output_norm='each',
        norm_cfg=dict(type='SyncBN'),
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/dynamic-dwnet-base_in1k.pth', prefix='backbone.'),
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
