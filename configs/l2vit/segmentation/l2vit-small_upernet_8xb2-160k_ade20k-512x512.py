_base_ = [
    '../../_base_/models/upernet.py',
    '../../_base_/datasets/ade20k_512.py',
    '../../_base_/schedules/upernet_160k_adamw.py',
    '../../_base_/seg_runtime.py',
]

norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(
        type='vil_mm.L2ViT',
        arch='small',
        output_norm='each',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/l2vit-small_in1k.pth', prefix='backbone.'),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=384, norm_cfg=norm_cfg),
)
optim_wrapper = dict(paramwise_cfg=None)  # as published, all parameters are decayed
