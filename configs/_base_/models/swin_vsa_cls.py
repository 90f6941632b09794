_base_ = './classifier.py'

model = dict(backbone=dict(type='vil_mm.SwinVSA', drop_path_rate=0.2), head=dict(in_channels=768))
