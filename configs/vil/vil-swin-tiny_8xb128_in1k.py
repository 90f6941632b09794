# Depths and widths of Swin-Tiny. Heads and recipe were never published: they are
# those of Swin-Tiny and of ViL-Small.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet_bs128_vil_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_vil.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='swin-tiny'))
