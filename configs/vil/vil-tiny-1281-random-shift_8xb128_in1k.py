# What the published command of the random shift trains; the shift is on for 0.875 of the training.
_base_ = './vil-tiny-1281_8xb128_in1k.py'

model = dict(backbone=dict(attn_cfg=dict(neighbors='random')))
custom_hooks = [dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=0.875)]
