# Linformer in all stages.
_base_ = './vil-nano_1xb64_digits.py'

model = dict(backbone=dict(attn_cfg=dict(type='vil_mm.LinformerAttention', num_features=32), absolute_position=True))
