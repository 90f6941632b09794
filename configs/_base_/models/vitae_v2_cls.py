_base_ = './classifier.py'

model = dict(backbone=dict(type='vil_mm.ViTAEv2'), head=dict(in_channels=512))
