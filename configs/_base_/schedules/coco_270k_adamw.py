# The published 3x schedule (arXiv 2103.15358): 270,000 iterations of 16 images.
_base_ = './coco_90k_adamw.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=False, begin=0, end=270000, milestones=[180000, 240000], gamma=0.1),
]
train_cfg = dict(max_iters=270000)
