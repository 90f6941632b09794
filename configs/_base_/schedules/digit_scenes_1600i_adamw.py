# Segmenters need more iterations.
_base_ = './digit_scenes_400i_adamw.py'

optim_wrapper = dict(optimizer=dict(lr=3e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=50, end=1600),
]
train_cfg = dict(max_iters=1600)
