# The published recipe for 224 pixels (arXiv 2202.10108, 2204.08446), as the commands of its repository give it.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    # Parameters with one dimension are not decayed; tables of relative positions are.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)

# Rates change from epoch to epoch, as published. The cosine runs from the first one, under the warm-up; the last ten
# epochs have its smallest rate.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, begin=0, end=11),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=0, end=301, T_max=300),
]

train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
auto_scale_lr = dict(base_batch_size=1024)

# The averaged weights are those whose accuracy is the published one; batch norms' statistics are averaged too.
custom_hooks = [dict(type='EMAHook', momentum=1 - 0.99996**2, update_buffers=True)]
