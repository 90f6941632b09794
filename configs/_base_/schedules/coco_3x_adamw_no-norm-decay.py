# See coco_1x_adamw_no-norm-decay.py.
_base_ = './coco_3x_adamw.py'

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0), 'relative_position_bias': dict(decay_mult=0.0)})
)
