_base_ = [
    '../../_base_/models/retinanet_vil_fpn.py',
    '../../_base_/datasets/coco_detection_pillow-ms.py',
    '../../_base_/schedules/coco_270k_adamw.py',
    '../../_base_/det_runtime.py',
]

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil-tiny_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[96, 192, 384]),
)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
