# Global memory in the first two stages, full attention in the others.
# The last stage is 384 wide, as in the published arch string; in the published parameters it is 768 wide.
_base_ = './vil-small-ape_8xb128_in1k.py'

model = dict(
    backbone=dict(
        arch='l1,h3,d96,n1,s1,g256,p4,f7_l2,h3,d192,n2,s1,g256,p2,f7_'
        'l3,h6,d384,n8,s0,g1,p2,f7_l4,h6,d384,n1,s0,g0,p2,f7',
        attn_cfg=dict(only_global=True),
    ),
    head=dict(in_channels=384),
)
