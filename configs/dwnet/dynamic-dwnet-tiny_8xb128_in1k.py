# The published recipe.
_base_ = [
    '../_base_/models/dwnet_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup20-clip5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='tiny', conv_type='dynamic'))
