# Reads the images from zip files.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet_zip_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='small'))
