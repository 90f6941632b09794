# Performer in all stages.
_base_ = './vil-nano_1xb64_digits.py'

model = dict(backbone=dict(attn_cfg=dict(type='vil_mm.PerformerAttention', num_features=32), absolute_position=True))
custom_hooks = [dict(type='vil_mm.PerformerRedrawHook')]
