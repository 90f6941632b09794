# The recipe of this size was never published: it is that of ViL-Small, with the
# learning rate in the name of the released file.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='medium-deep'))
optim_wrapper = dict(optimizer=dict(lr=8e-4))
