# The published fine-tuning at 384 pixels, with windows of 12, which fill all maps. It runs on 8 GPUs that accumulate 2
# batches.
_base_ = [
    '../_base_/models/l2vit_cls.py',
    '../_base_/datasets/imagenet_bs64_randaug_384.py',
    '../_base_/schedules/imagenet_bs1024_adamw_30e-ema1e-4.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='base', window_size=12, drop_path_rate=0.2), head=dict(in_channels=1024))
# converted with --class-map, so that its head has the 1000 classes
load_from = 'checkpoints/l2vit-base_in21k.pth'
