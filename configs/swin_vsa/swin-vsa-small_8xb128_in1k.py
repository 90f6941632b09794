# Swin Transformer's recipe; the publication states none for these models.
_base_ = [
    '../_base_/models/swin_vsa_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_300e-warmup20-clip5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='small', drop_path_rate=0.3))
