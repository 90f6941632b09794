# Spatial reduction in all stages: keys and values at a stride of 64 pixels.
_base_ = './vil-small-ape_8xb128_in1k.py'

model = dict(
    backbone=dict(
        attn_cfg=[
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=16),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=8),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=4),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=2),
        ]
    )
)
