# The published fine-tuning (arXiv 2103.15358). It uses QHM, learning rate 0.01, momentum 0.9 and nu 1: that is SGD
# with learning rate 0.01 * (1 - 0.9).
optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=1e-3, momentum=0.9, weight_decay=0.0),
    # As published, biases are decayed but for those of norms and of the head.
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

# The cosine runs from the first iteration, under the warm-up.
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

train_cfg = dict(by_epoch=True, max_epochs=10, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=256)
