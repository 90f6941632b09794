# The published recipe. The split of its batch of 1024 is that of the 48M model.
_base_ = [
    '../_base_/models/vitae_v2_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug-two-interpolations_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_310e-ema8e-5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='base', drop_rate=0.1, drop_path_rate=0.4), head=dict(in_channels=1024))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(weight_decay=0.065), clip_grad=dict(max_norm=5.0))
