# The publication has no segmenter with this backbone.
_base_ = './vitae-v2-vsa-small_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='vsa-base', init_cfg=dict(checkpoint='checkpoints/vitae-v2-vsa-base_in1k.pth')),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
