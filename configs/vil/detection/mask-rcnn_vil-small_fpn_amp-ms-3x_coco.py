# The published training command: mixed precision, and a weight decay of 0.1.
_base_ = './mask-rcnn_vil-small_fpn_ms-3x_coco.py'

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', optimizer=dict(weight_decay=0.1))
