# A small model on handwritten digits.
_base_ = [
    '../_base_/models/swin_vsa_cls.py',
    '../_base_/datasets/digits_bs64_32.py',
    '../_base_/schedules/digits_bs64_adamw.py',
    '../_base_/cls_runtime.py',
]

model = dict(
    backbone=dict(
        arch=dict(embed_dims=32, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8]), window_size=4, drop_path_rate=0.0
    ),
    head=dict(num_classes=10, in_channels=256, loss=dict(num_classes=10)),
    train_cfg=None,
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
