_base_ = [
    '../../_base_/models/mask-rcnn_vil_fpn.py',
    '../../_base_/datasets/coco_instance_pillow.py',
    '../../_base_/schedules/coco_90k_adamw.py',
    '../../_base_/det_runtime.py',
]

model = dict(
    backbone=dict(
        arch='medium-deep',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil-medium-deep_in21k.pth', prefix='backbone.'),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.00025), clip_grad=dict(max_norm=0.5))
