# The published recipe for 224 pixels (arXiv 2103.15358), as the commands of its
# repository give it. There AdamW decays after the step, and adds its
# epsilon outside the bias correction; torch's order is used here.
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1, eps=1e-8, betas=(0.9, 0.999)),
    # As published, biases are decayed, except those of norms and of the head.
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'global_tokens': dict(decay_mult=0.0),
            'position_embed': dict(decay_mult=0.0),
            'relative_position_bias': dict(decay_mult=0.0),
            'head.fc.bias': dict(decay_mult=0.0),
        },
    ),
)

# The cosine starts at the first iteration, together with the warm-up.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.002, by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-6,
        by_epoch=True,
        begin=0,
        end=300,
        T_max=300,
        convert_to_iter_based=True,
    ),
]

train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
auto_scale_lr = dict(base_batch_size=1024)
