# Label maps of handwritten digits, from the weights of the classification demo, with the sliding window in all stages.
_base_ = [
    '../../_base_/models/upernet_digits.py',
    '../../_base_/datasets/digit_scenes_semantic.py',
    '../../_base_/schedules/digit_scenes_1600i_adamw.py',
    '../../_base_/seg_runtime_demo.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.ViL',
        arch='nano',
        attn_cfg=dict(type='vil_mm.SlidingWindowAttention', window_size=4),
        output_norm='each',
        drop_path_rate=0.0,
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/vil-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'),
    ),
)
