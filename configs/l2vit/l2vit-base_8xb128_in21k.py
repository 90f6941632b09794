# The published pre-training on ImageNet-22K.
_base_ = [
    '../_base_/models/l2vit_cls.py',
    '../_base_/datasets/imagenet21k_bs128_randaug_224.py',
    '../_base_/schedules/imagenet_bs4096_adamw_300e-ema1e-4.py',
    '../_base_/cls_runtime_no-val.py',
]

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.2),
    head=dict(num_classes=21841, in_channels=1024, loss=dict(num_classes=21841)),
)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=5,
        end=90,
        T_max=85,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=90)
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = []
