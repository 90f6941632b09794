_base_ = [
    '../../_base_/models/mask-rcnn_vil_fpn.py',
    '../../_base_/datasets/coco_instance_pillow.py',
    '../../_base_/schedules/coco_90k_adamw.py',
    '../../_base_/det_runtime.py',
]

model = dict(
    backbone=dict(
        arch='tiny',
        drop_path_rate=0.05,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil-tiny_in1k.pth', prefix='backbone.'),
    ),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
optim_wrapper = dict(optimizer=dict(lr=0.00025), clip_grad=dict(max_norm=0.5))
