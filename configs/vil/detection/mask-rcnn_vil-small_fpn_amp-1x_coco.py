# In mixed precision, as the publication trains.
_base_ = './mask-rcnn_vil-small_fpn_1x_coco.py'

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic')
