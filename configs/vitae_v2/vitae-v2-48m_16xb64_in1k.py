# The published recipe, which is also that of ViTAEv2*-VSA of this size.
_base_ = [
    '../_base_/models/vitae_v2_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug-two-interpolations_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_310e-ema8e-5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='48m', drop_path_rate=0.25), head=dict(in_channels=768))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(weight_decay=0.055))
