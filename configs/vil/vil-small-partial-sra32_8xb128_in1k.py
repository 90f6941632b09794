# Spatial reduction in the first two stages, keys and values at a stride of 32 pixels; full attention in the others.
_base_ = './vil-small-ape_8xb128_in1k.py'

model = dict(
    backbone=dict(
        attn_cfg=[
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=8),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=4),
            None,
            None,
        ]
    )
)
