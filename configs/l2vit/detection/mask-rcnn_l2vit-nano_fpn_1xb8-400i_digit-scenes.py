# Boxes and masks of handwritten digits, from the weights of the digits' classifier; all but the backbone is as for ViL.
_base_ = '../../vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='vil_mm.L2ViT',
        arch=dict(embed_dims=[32, 64, 128, 256], depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8]),
        window_size=4,
        output_norm='each',
        drop_path_rate=0.0,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/l2vit-nano_1xb64_digits/epoch_15.pth', prefix='backbone.'
        ),
    ),
)
