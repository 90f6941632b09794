# The sliding window in the first two stages, full attention in the others.
_base_ = './mask-rcnn_vil-small-ape_fpn_1x_coco.py'

model = dict(backbone=dict(attn_cfg=None))
