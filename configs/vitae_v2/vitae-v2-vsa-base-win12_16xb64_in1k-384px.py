# Windows of 12, for 384 pixels. Its recipe was not published: it is fine-tuning from 224 pixels.
_base_ = [
    '../_base_/models/vitae_v2_cls.py',
    '../_base_/datasets/imagenet_bs64_randaug_384.py',
    '../_base_/schedules/imagenet_bs1024_adamw_30e-ema8e-5.py',
    '../_base_/cls_runtime.py',
]

model = dict(
    backbone=dict(arch='vsa-base', attn_cfg=dict(window_size=12), drop_path_rate=0.4), head=dict(in_channels=1024)
)
# tables of relative positions are resized
load_from = 'checkpoints/vitae-v2-vsa-base_in1k.pth'
