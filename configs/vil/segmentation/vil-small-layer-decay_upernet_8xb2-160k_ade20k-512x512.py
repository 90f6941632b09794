# A learning rate that decays from the heads down to the first patch embedding.
_base_ = './vil-small_upernet_8xb2-160k_ade20k-512x512.py'

optim_wrapper = dict(
    constructor='vil_mm.LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
