# The backbone of the digits' classifier, with the sliding window in all stages and its trained weights.
_base_ = './upernet_vil.py'

norm_cfg = dict(type='BN')
class_weight = [0.1] + [1.0] * 10  # nine tenths of the pixels are background
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], size=(128, 128)),
    backbone=dict(
        type='vil_mm.ViL',
        arch='l1,h2,d32,n1,s1,g1,p4,f4,a0_l2,h2,d64,n1,s1,g1,p2,f4,a0_'
        'l3,h4,d128,n4,s1,g1,p2,f4,a0_l4,h8,d256,n1,s1,g0,p2,f4,a0',
        attn_cfg=None,
        drop_path_rate=0.0,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/vil-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'),
    ),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=32,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        in_channels=128, channels=32, num_classes=11, norm_cfg=norm_cfg, loss_decode=dict(class_weight=class_weight)
    ),
)
