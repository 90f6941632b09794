_base_ = './imagenet_bs1024_adamw_300e-warmup5.py'

optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=0,
        end=15,
        T_max=15,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=15)
auto_scale_lr = dict(base_batch_size=64)
