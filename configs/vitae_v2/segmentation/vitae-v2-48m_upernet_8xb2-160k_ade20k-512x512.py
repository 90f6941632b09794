# The publication's segmenters are not released: these are the usual settings of UPerNet.
_base_ = './vitae-v2-small_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='48m', init_cfg=dict(checkpoint='checkpoints/vitae-v2-48m_in1k.pth')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
