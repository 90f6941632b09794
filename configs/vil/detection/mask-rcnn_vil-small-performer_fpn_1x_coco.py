# Performer in all stages, which keeps its initial random features, as published.
_base_ = './mask-rcnn_vil-small-ape_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        attn_cfg=dict(type='vil_mm.PerformerAttention', num_features=256),
        init_cfg=dict(checkpoint='checkpoints/vil-small-performer_in1k.pth'),
    )
)
