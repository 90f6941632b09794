_base_ = [
    '../../_base_/models/retinanet_vil_fpn.py',
    '../../_base_/datasets/coco_detection_pillow-ms.py',
    '../../_base_/schedules/coco_270k_adamw.py',
    '../../_base_/det_runtime.py',
]

model = dict(
    backbone=dict(
        arch='base-deep',
        drop_path_rate=0.3,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil-base-deep_in21k.pth', prefix='backbone.'),
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
