# A learning rate that decays from the heads down to the first patch embedding.
_base_ = './mask-rcnn_vil-small_fpn_1x_coco.py'

optim_wrapper = dict(constructor='vil_mm.LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(layer_decay_rate=0.9))
