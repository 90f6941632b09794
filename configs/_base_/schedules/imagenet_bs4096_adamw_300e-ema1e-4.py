# The published recipe for ImageNet-1K from scratch (arXiv 2501.16182).
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=4e-3, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999)),
    # Parameters with one dimension are not decayed; the temperatures, (heads, 1, 1), are.
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0),
)

# The published warm-up starts at 0, which mmengine's cannot do. That the cosine follows it is our interpretation.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=20,
        end=300,
        T_max=280,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
auto_scale_lr = dict(base_batch_size=4096)

# The averaged weights are those that are evaluated; batch norms' statistics are averaged too. One update per step: with
# accumulated gradients, set the hook's interval too.
custom_hooks = [dict(type='EMAHook', momentum=1e-4, update_buffers=True)]
