# Half as many iterations, with batches of 8 images.
_base_ = './upernet_160k_adamw.py'

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=80000),
]
train_cfg = dict(max_iters=80000, val_interval=8000)
auto_scale_lr = dict(base_batch_size=8)
