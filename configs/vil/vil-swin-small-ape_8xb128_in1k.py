# Absolute position in place of relative bias.
_base_ = './vil-swin-small_8xb128_in1k.py'

model = dict(backbone=dict(absolute_position=True))
