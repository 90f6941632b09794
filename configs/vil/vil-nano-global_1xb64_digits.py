# Global memory in all stages.
_base_ = './vil-nano_1xb64_digits.py'

model = dict(
    backbone=dict(
        arch='l1,h2,d32,n1,s1,g16,p4,f4_l2,h2,d64,n1,s1,g16,p2,f4_l3,h4,d128,n4,s1,g4,p2,f4_l4,h8,d256,n1,s1,g1,p2,f4',
        attn_cfg=dict(only_global=True),
    )
)
