_base_ = './vil-small_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='base-deep', init_cfg=dict(checkpoint='checkpoints/vil-base-deep_in21k.pth')),
)
