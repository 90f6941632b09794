# Spatial reduction in the first two stages, keys and values at a stride of 32 pixels; full attention in the others.
_base_ = './mask-rcnn_vil-small-ape_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        attn_cfg=[
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=8),
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=4),
            dict(type='vil_mm.FullAttention'),
            dict(type='vil_mm.FullAttention'),
        ],
        init_cfg=dict(checkpoint='checkpoints/vil-small-partial-sra32_in1k.pth'),
    )
)
