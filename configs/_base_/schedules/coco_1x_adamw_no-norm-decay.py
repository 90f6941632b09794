# As published, norms and tables of relative positions are not decayed; the batch norms between convolutions are, as
# their names do not say "norm".
_base_ = './coco_1x_adamw.py'

optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.0), 'relative_position_bias': dict(decay_mult=0.0)})
)
