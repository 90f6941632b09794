# Neither architecture nor recipe was published: depths and widths are derived from the published
# parameters and FLOPs, the heads are those of Swin-Tiny, the recipe is that of ViL-Small.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='swin-tiny'))
