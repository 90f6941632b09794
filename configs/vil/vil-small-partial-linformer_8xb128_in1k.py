# Linformer in the first two stages, full attention in the others.
_base_ = './vil-small-ape_8xb128_in1k.py'

model = dict(backbone=dict(attn_cfg=[dict(type='vil_mm.LinformerAttention', num_features=256)] * 2 + [None] * 2))
