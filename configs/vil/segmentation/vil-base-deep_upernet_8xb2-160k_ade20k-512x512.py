_base_ = [
    '../../_base_/models/upernet_vil.py',
    '../../_base_/datasets/ade20k_512.py',
    '../../_base_/schedules/upernet_160k_adamw.py',
    '../../_base_/seg_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base-deep',
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil-base-deep_in21k.pth', prefix='backbone.'),
    ),
)
