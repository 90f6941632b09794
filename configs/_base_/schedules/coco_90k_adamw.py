# The published 1x schedule (arXiv 2103.15358): 90,000 iterations of 16 images.
# All parameters are decayed. The publication names three weight decays: 0.05 in its text, which this is, 0.1 in its
# command and 1e-4 in its settings files. Every 7330 iterations, an epoch of COCO, there is a validation.
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=90000, milestones=[60000, 80000], gamma=0.1),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=90000, val_interval=7330)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=16)
