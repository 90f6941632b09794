# What the published training command of ViL-Tiny trains: depths 1, 2, 8, 1 instead of the published models' 1, 1, 9, 1.
_base_ = './vil-tiny_8xb128_in1k.py'

model = dict(
    backbone=dict(
        arch='l1,h1,d48,n1,s1,g1,p4,f7,a0_l2,h3,d96,n2,s1,g1,p2,f7,a0_'
        'l3,h3,d192,n8,s0,g1,p2,f7,a0_l4,h6,d384,n1,s0,g0,p2,f7,a0'
    )
)
