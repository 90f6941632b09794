_base_ = './vil-small_upernet_4xb2-80k_cityscapes-512x1024.py'

model = dict(
    backbone=dict(arch='medium-deep', init_cfg=dict(checkpoint='checkpoints/vil-medium-deep_in21k.pth')),
)
