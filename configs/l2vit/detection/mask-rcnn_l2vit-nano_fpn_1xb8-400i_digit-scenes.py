# Boxes and masks of handwritten digits, from the weights of the digits' classifier.
_base_ = [
    '../../_base_/models/mask-rcnn_digits_fpn.py',
    '../../_base_/datasets/digit_scenes_instance.py',
    '../../_base_/schedules/digit_scenes_400i_adamw.py',
    '../../_base_/det_runtime_demo.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.L2ViT',
        arch='nano',
        window_size=4,
        output_norm='each',
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/l2vit-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'
        ),
    ),
)
