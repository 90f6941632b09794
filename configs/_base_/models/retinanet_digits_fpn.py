# A small head for scenes of handwritten digits. A config adds the backbone, whose last three maps are 64 to 256 wide.
_base_ = './retinanet_detectron2_fpn.py'

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    neck=dict(in_channels=[64, 128, 256], out_channels=64),
    bbox_head=dict(
        num_classes=10, in_channels=64, stacked_convs=2, feat_channels=64, anchor_generator=dict(octave_base_scale=2)
    ),
)
