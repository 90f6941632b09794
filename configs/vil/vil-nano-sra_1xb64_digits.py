# Spatial reduction in the first three stages, then full attention.
_base_ = './vil-nano_1xb64_digits.py'

model = dict(
    backbone=dict(
        attn_cfg=[
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=4),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=2),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=1),
            None,
        ],
        absolute_position=True,
    )
)
