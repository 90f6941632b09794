# A linear head on the mean of the last feature map, trained with smoothed labels, Mixup and CutMix. A config adds the
# backbone, and the head's in_channels.
model = dict(
    type='ImageClassifier',
    backbone=dict(out_indices=(3,), out_type='avg_featmap'),
    head=dict(
        type='LinearClsHead',
        num_classes=1000,
        init_cfg=dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.0),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    ),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
