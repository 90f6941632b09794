# Fine-tuning of the model that was pre-trained on ImageNet-22K at 224 pixels.
_base_ = [
    '../_base_/models/vil_cls.py',
    '../_base_/datasets/imagenet_bs32_crop-flip_384.py',
    '../_base_/schedules/imagenet_bs256_sgd_10e.py',
    '../_base_/cls_runtime.py',
]

model = dict(
    backbone=dict(
        arch='medium-deep',
        img_size=384,
        absolute_position=True,
        attn_cfg=[dict(window_size=8), dict(window_size=12), None, None],
    ),
    train_cfg=None,
)
# For published files; class_map='data/imagenet/train' is for files of our own training on ImageNet-22K.
custom_hooks = [dict(type='vil_mm.KeepFirstClassesHook')]
load_from = 'checkpoints/vil-medium-deep-ape_in21k.pth'
