_base_ = './classifier.py'

model = dict(backbone=dict(type='vil_mm.L2ViT'), head=dict(in_channels=768))
