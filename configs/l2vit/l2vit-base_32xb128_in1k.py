# The published recipe. It runs on 8 GPUs, and accumulates 4 batches.
_base_ = [
    '../_base_/models/l2vit_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs4096_adamw_300e-ema1e-4.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='base', drop_path_rate=0.3), head=dict(in_channels=1024))
