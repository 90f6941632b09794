_base_ = './classifier.py'

model = dict(
    backbone=dict(_delete_=True, type='vil_mm.SwinVSA', drop_path_rate=0.2),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(in_channels=768),
    init_cfg=[
        dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        dict(type='Constant', layer='LayerNorm', val=1.0, bias=0.0),
    ],
)
