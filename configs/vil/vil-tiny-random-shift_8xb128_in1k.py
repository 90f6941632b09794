# The random shift, on for 0.75 of the training, according to the name of the released file.
_base_ = './vil-tiny_8xb128_in1k.py'

model = dict(backbone=dict(attn_cfg=dict(neighbors='random')))
custom_hooks = [dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=0.75)]
