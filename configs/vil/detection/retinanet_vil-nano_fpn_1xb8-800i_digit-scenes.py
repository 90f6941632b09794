# Boxes of handwritten digits, from the weights of the classification demo, with the sliding window in all stages.
_base_ = [
    '../../_base_/models/retinanet_digits_fpn.py',
    '../../_base_/datasets/digit_scenes_detection.py',
    '../../_base_/schedules/digit_scenes_800i_adamw.py',
    '../../_base_/det_runtime_demo.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.ViL',
        arch='nano',
        img_size=128,
        attn_cfg=dict(type='vil_mm.SlidingWindowAttention', window_size=4),
        position_fit='crop',
        out_indices=(1, 2, 3),
        output_norm=None,
        drop_path_rate=0.1,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/vil-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'),
    ),
)
