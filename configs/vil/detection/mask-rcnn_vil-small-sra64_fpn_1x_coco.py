# Spatial reduction in all stages: keys and values at a stride of 64 pixels.
_base_ = './mask-rcnn_vil-small-ape_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        attn_cfg=[
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=16),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=8),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=4),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=2),
        ],
        init_cfg=dict(checkpoint='checkpoints/vil-small-sra64_in1k.pth'),
    )
)
