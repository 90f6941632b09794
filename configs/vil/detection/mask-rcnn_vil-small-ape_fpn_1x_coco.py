# With an absolute position in place of the relative bias.
_base_ = './mask-rcnn_vil-small_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        absolute_position=True,
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint='checkpoints/vil-small-ape_in1k.pth'),
    )
)
