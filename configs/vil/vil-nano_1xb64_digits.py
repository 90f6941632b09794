# A small ViL on handwritten digits: the demo that the README starts with.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/digits_bs64_32.py',
    '../_base_/schedules/digits_bs64_adamw.py',
    '../_base_/cls_runtime_demo.py',
]

model = dict(
    backbone=dict(arch='nano', img_size=32),
    head=dict(num_classes=10, in_channels=256, loss=dict(num_classes=10)),
    train_cfg=None,
)
