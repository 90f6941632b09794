# A small model on handwritten digits.
_base_ = [
    '../_base_/models/dwnet_cls.py',
    '../_base_/datasets/digits_bs64_32.py',
    '../_base_/schedules/digits_bs64_adamw.py',
    '../_base_/cls_runtime_demo.py',
]

model = dict(
    backbone=dict(arch='nano', conv_type='dynamic', drop_path_rate=0.1),
    head=dict(num_classes=10, in_channels=256, loss=dict(num_classes=10)),
    train_cfg=None,
)
