# Full attention in all stages.
_base_ = './vil-nano_1xb64_digits.py'

model = dict(backbone=dict(attn_cfg=dict(type='vil_mm.FullAttention'), absolute_position=True))
