# Spatial reduction in the first three stages, keys and values at a stride of 32 pixels; then full attention.
_base_ = './mask-rcnn_vil-small-ape_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        attn_cfg=[
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=8),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=4),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=2),
            dict(type='vil_mm.FullAttention'),
        ],
        init_cfg=dict(checkpoint='checkpoints/vil-small-sra32_in1k.pth'),
    )
)
