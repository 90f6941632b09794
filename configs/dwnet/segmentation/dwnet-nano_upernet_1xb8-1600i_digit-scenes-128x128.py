# Label maps of handwritten digits, from the weights of the digits' classifier.
_base_ = [
    '../../_base_/models/upernet_digits.py',
    '../../_base_/datasets/digit_scenes_semantic.py',
    '../../_base_/schedules/digit_scenes_1600i_adamw.py',
    '../../_base_/seg_runtime_demo.py',
]

model = dict(
    backbone=dict(
        type='vil_mm.DWNet',
        arch='nano',
        output_norm='each',
        norm_cfg=dict(type='BN'),
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/dwnet-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'
        ),
    ),
)
