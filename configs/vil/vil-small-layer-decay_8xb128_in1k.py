# A learning rate that decays from the head down to the first patch embedding, for pretrained weights. Set
# epochs, data and load_from for yours.
_base_ = './vil-small_8xb128_in1k.py'

optim_wrapper = dict(
    constructor='vil_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=5e-4),
    paramwise_cfg=dict(layer_decay_rate=0.8),
)
load_from = 'checkpoints/vil-small_in1k.pth'
