# Boxes of handwritten digits, from the weights of the classification demo.
_base_ = [
    '../../_base_/models/retinanet_digits_fpn.py',
    '../../_base_/datasets/digit_scenes_detection.py',
    '../../_base_/schedules/digit_scenes_400i_adamw.py',
    '../../_base_/det_runtime.py',
]

param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=50, end=800),
]
train_cfg = dict(max_iters=800)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200, max_keep_ckpts=1))
randomness = dict(seed=0)
