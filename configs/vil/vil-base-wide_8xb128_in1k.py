# Published after pre-training on ImageNet-22K only. The recipe is that of ViL-Small.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='base-wide'), head=dict(in_channels=1024))
