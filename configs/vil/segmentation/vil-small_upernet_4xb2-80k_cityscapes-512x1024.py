_base_ = [
    '../../_base_/models/upernet_vil.py',
    '../../_base_/datasets/cityscapes_512x1024.py',
    '../../_base_/schedules/upernet_80k_adamw.py',
    '../../_base_/seg_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil-small_in1k.pth', prefix='backbone.'),
    ),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19),
)
