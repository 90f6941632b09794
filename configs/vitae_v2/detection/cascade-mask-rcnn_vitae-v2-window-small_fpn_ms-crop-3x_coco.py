# Its recipe was not published: the drop path rate is that of ViTAEv2.
_base_ = [
    '../../_base_/models/cascade-mask-rcnn_fpn.py',
    '../../_base_/datasets/coco_instance_ms-crop.py',
    '../../_base_/schedules/coco_3x_adamw_no-norm-decay.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.ViTAEv2',
        arch='window-small',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vitae-v2-window-small_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
