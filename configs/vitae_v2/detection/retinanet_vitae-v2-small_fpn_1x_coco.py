# Not published: as that with varied-size windows, with the stochastic depth of the other detectors without them.
_base_ = [
    '../../_base_/models/retinanet_fpn.py',
    '../../_base_/datasets/coco_detection.py',
    '../../_base_/schedules/coco_1x_adamw_no-norm-decay.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.ViTAEv2',
        arch='small',
        out_indices=(1, 2, 3),
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vitae-v2-small_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
