_base_ = './l2vit-tiny_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='small', init_cfg=dict(checkpoint='checkpoints/l2vit-small_in1k.pth')),
)
