# The published fine-tuning on ImageNet-1K of models pre-trained on ImageNet-22K (arXiv 2501.16182).
_base_ = './imagenet_bs4096_adamw_300e-ema1e-4.py'

optim_wrapper = dict(optimizer=dict(lr=4e-5, weight_decay=1e-8))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=4e-7,
        by_epoch=True,
        begin=5,
        end=30,
        T_max=25,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=1024)
