# Performer in the first two stages, full attention in the others. As published, the random features stay those of the
# initialization.
_base_ = './mask-rcnn_vil-small-ape_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        attn_cfg=[dict(type='vil_mm.PerformerAttention', num_features=256)] * 2
        + [dict(type='vil_mm.FullAttention')] * 2,
        drop_path_rate=0.05,
        init_cfg=dict(checkpoint='checkpoints/vil-small-partial-performer_in1k.pth'),
    )
)
