# Absolute position in place of relative bias.
_base_ = './vil-medium-deep_8xb128_in1k.py'

model = dict(backbone=dict(absolute_position=True))
