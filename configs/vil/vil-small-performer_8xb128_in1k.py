# Performer in all stages.
_base_ = './vil-small-ape_8xb128_in1k.py'

model = dict(backbone=dict(attn_cfg=dict(type='vil_mm.PerformerAttention', num_features=256)))
custom_hooks = [dict(type='vil_mm.PerformerRedrawHook')]
