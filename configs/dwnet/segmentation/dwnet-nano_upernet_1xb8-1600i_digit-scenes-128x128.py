# Label maps of handwritten digits, from the weights of the digits' classifier; all but the backbone is as for ViL.
_base_ = '../../vil/segmentation/vil-nano_upernet_1xb8-1600i_digit-scenes-128x128.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='vil_mm.DWNet',
        arch=dict(embed_dims=[32, 64, 128, 256], depths=[1, 1, 4, 1]),
        output_norm='each',
        norm_cfg=dict(type='BN'),
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/dwnet-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'
        ),
    ),
)
