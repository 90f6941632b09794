_base_ = [
    '../../_base_/models/mask-rcnn_vil_fpn.py',
    '../../_base_/datasets/coco_instance_pillow-ms.py',
    '../../_base_/schedules/coco_270k_adamw.py',
    '../../_base_/det_runtime.py',
]

model = dict(
    backbone=dict(
        arch='small',
        drop_path_rate=0.2,
        init_cfg=dict(type='Pretrained', checkpoint='checkpoints/vil-small_in1k.pth', prefix='backbone.'),
    ),
)
optim_wrapper = dict(clip_grad=dict(max_norm=0.5))
