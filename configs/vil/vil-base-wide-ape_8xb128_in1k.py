# Absolute position in place of relative bias.
_base_ = './vil-base-wide_8xb128_in1k.py'

model = dict(backbone=dict(absolute_position=True))
