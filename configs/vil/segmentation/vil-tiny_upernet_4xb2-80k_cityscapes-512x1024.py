_base_ = './vil-small_upernet_4xb2-80k_cityscapes-512x1024.py'

model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint='checkpoints/vil-tiny_in1k.pth')),
    decode_head=dict(in_channels=[48, 96, 192, 384]),
    auxiliary_head=dict(in_channels=192),
)
