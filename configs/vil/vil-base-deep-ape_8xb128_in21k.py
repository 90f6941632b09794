# Pre-training on ImageNet-22K. Its recipe was not published: it is that of ImageNet-1K.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet21k_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup5.py',
    '../_base_/cls_runtime_no-val.py',
]

model = dict(
    backbone=dict(arch='base-deep', absolute_position=True),
    head=dict(num_classes=21841, loss=dict(num_classes=21841)),
)
