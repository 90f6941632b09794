# Fine-tuning of the model pre-trained on ImageNet-22K, with L2ViT's recipe. The file's head has other classes, so
# loading skips it, with a warning.
_base_ = [
    '../_base_/models/vitae_v2_cls.py',
    '../_base_/datasets/imagenet_bs128_randaug-two-interpolations_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_30e-ema8e-5.py',
    '../_base_/cls_runtime.py',
]

model = dict(backbone=dict(arch='vsa-48m', drop_path_rate=0.25), head=dict(in_channels=768))
train_dataloader = dict(batch_size=64)
load_from = 'checkpoints/vitae-v2-vsa-48m_in21k.pth'
