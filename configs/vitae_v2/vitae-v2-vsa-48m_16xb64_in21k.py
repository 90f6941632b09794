# Pre-training on ImageNet-22K. Its recipe was not published: it is that of ImageNet-1K,
# for 90 epochs.
_base_ = [
    '../_base_/models/vitae_v2_cls.py',
    '../_base_/datasets/imagenet21k_bs128_randaug-two-interpolations_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_310e-ema8e-5.py',
    '../_base_/cls_runtime_no-val.py',
]

model = dict(
    backbone=dict(arch='vsa-48m', drop_path_rate=0.25),
    head=dict(num_classes=21841, in_channels=768, loss=dict(num_classes=21841)),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=11),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=90, T_max=90),
]
train_cfg = dict(max_epochs=90)
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(weight_decay=0.055))
