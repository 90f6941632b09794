# Fine-tuning of an ImageNet-1K model. The publication has no such recipe: it is that of 384 pixels.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/cifar100_bs32_224.py',
    '../_base_/schedules/imagenet_bs256_sgd_10e.py',
    '../_base_/cls_runtime.py',
]

model = dict(
    backbone=dict(arch='tiny'),
    head=dict(num_classes=100, in_channels=384, loss=dict(num_classes=100)),
    train_cfg=None,
)
load_from = 'checkpoints/vil-tiny_in1k.pth'
