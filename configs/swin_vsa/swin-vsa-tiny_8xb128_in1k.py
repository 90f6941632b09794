# Swin Transformer's recipe; the publication states none for these models.
_base_ = [
    '../_base_/models/swin_vsa_cls.py',
    '../_base_/datasets/imagenet_bs128_vil_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='tiny'))
