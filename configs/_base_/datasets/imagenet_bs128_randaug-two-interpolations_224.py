# As published, one of two interpolations is drawn for each image's crop, and one for its augmentations; test images are
# 0.9 of what they are resized to.
_base_ = './imagenet_bs128_randaug_224.py'

bicubic_crop, flip, bicubic_augment = _base_.train_pipeline[1:4]
crop = dict(bicubic_crop, interpolation='bilinear')
augment = dict(bicubic_augment, hparams=dict(bicubic_augment['hparams'], interpolation='bilinear'))
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='RandomChoice', transforms=[[crop], [bicubic_crop]]),
    flip,
    dict(type='RandomChoice', transforms=[[augment], [bicubic_augment]]),
    *_base_.train_pipeline[4:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='ResizeEdge', scale=248, edge='short', backend='pillow', interpolation='bicubic'),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
