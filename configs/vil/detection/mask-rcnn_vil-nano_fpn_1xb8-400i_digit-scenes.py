# Boxes and masks of handwritten digits, from the weights of the classification demo.
_base_ = [
    '../../_base_/models/mask-rcnn_digits_fpn.py',
    '../../_base_/datasets/digit_scenes_instance.py',
    '../../_base_/schedules/digit_scenes_400i_adamw.py',
    '../../_base_/det_runtime.py',
]

default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200, max_keep_ckpts=1))
randomness = dict(seed=0)
