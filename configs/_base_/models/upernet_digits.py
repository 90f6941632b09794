# Small heads for scenes of handwritten digits. A config adds the backbone, whose maps are 32 to 256 wide.
_base_ = './upernet.py'

norm_cfg = dict(type='BN')
class_weight = [0.1] + [1.0] * 10  # nine tenths of the pixels are background
model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5], size=(128, 128)),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=32,
        num_classes=11,
        norm_cfg=norm_cfg,
        loss_decode=dict(class_weight=class_weight),
    ),
    auxiliary_head=dict(
        in_channels=128, channels=32, num_classes=11, norm_cfg=norm_cfg, loss_decode=dict(class_weight=class_weight)
    ),
)
