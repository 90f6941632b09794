_base_ = './vil-small_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='tiny', init_cfg=dict(checkpoint='checkpoints/vil-tiny_in1k.pth')),
    decode_head=dict(in_channels=[48, 96, 192, 384]),
    auxiliary_head=dict(in_channels=192),
)
