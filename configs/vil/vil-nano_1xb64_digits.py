# A small ViL on handwritten digits: the demo that the README starts with.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/digits_bs64_32.py',
    '../_base_/schedules/digits_bs64_adamw.py',
    '../_base_/cls_runtime.py',
]

model = dict(
    backbone=dict(
        arch='l1,h2,d32,n1,s1,g1,p4,f4,a0_l2,h2,d64,n1,s1,g1,p2,f4,a0_'
        'l3,h4,d128,n4,s0,g1,p2,f4,a0_l4,h8,d256,n1,s0,g0,p2,f4,a0',
        img_size=32,
    ),
    head=dict(num_classes=10, in_channels=256, loss=dict(num_classes=10)),
    train_cfg=None,
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
