# The backbone of the digits' classifier, with the sliding window in all stages and its trained weights.
_base_ = './retinanet_vil_fpn.py'

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        type='vil_mm.ViL',
        arch='l1,h2,d32,n1,s1,g1,p4,f4,a0_l2,h2,d64,n1,s1,g1,p2,f4,a0_'
        'l3,h4,d128,n4,s1,g1,p2,f4,a0_l4,h8,d256,n1,s1,g0,p2,f4,a0',
        img_size=128,
        attn_cfg=None,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/vil-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[64, 128, 256], out_channels=64),
    bbox_head=dict(
        num_classes=10, in_channels=64, stacked_convs=2, feat_channels=64, anchor_generator=dict(octave_base_scale=2)
    ),
)
