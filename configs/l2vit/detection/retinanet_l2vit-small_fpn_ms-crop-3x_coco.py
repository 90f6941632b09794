_base_ = [
    '../../_base_/models/retinanet_fpn.py',
    '../../_base_/datasets/coco_detection_ms-crop.py',
    '../../_base_/schedules/coco_3x_adamw.py',
    '../../_base_/det_runtime_epochs.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.L2ViT',
        arch='small',
        out_indices=(1, 2, 3),
        output_norm='each',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/l2vit-small_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[192, 384, 768]),
)
