# The published fine-tuning (arXiv 2103.15358). It uses QHM, learning rate 0.01, momentum 0.9 and nu 1: that is SGD
# with learning rate 0.01 * (1 - 0.9).
_base_ = './imagenet_bs1024_adamw_300e-warmup5.py'

optim_wrapper = dict(optimizer=dict(_delete_=True, type='SGD', lr=1e-3, momentum=0.9, weight_decay=0.0))

# The cosine starts at the first iteration, together with the warm-up.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.002, by_epoch=True, begin=0, end=0.25, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-7,
        by_epoch=True,
        begin=0,
        end=10,
        T_max=10,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(max_epochs=10)
auto_scale_lr = dict(base_batch_size=256)
