# The published command of ViL-Tiny trains another arch (depths 1, 2, 8, 1) by this recipe.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='tiny'), head=dict(in_channels=384))
