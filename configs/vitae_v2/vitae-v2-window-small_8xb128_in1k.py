# ViTAEv2*, from which detectors start. Its recipe was not published: it is that of the small models.
_base_ = [
    '../_base_/models/vitae_v2_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug-two-interpolations_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_310e-ema8e-5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='window-small', drop_path_rate=0.1))
