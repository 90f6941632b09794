# Global memory in all stages: tokens attend only to global tokens.
_base_ = './vil-small-ape_8xb128_in1k.py'

model = dict(
    backbone=dict(
        arch='l1,h3,d96,n1,s1,g256,p4,f7_l2,h3,d192,n2,s1,g256,p2,f7_'
        'l3,h6,d384,n8,s1,g64,p2,f7_l4,h12,d768,n1,s1,g16,p2,f7',
        attn_cfg=dict(only_global=True),
    )
)
