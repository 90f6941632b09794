_base_ = './dwnet-tiny_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(conv_type='dynamic', init_cfg=dict(checkpoint='checkpoints/dynamic-dwnet-tiny_in1k.pth')),
)
