# As published, crops are resized with one of two interpolations, drawn for each image, and test images are 0.9 of what
# they are resized to.
_base_ = './imagenet_bs128_vil_224.py'

crop = dict(type='RandomResizedCrop', scale=224, backend='pillow')
train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        type='RandomChoice',
        transforms=[[dict(crop, interpolation='bilinear')], [dict(crop, interpolation='bicubic')]],
    ),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='ResizeEdge', scale=248, edge='short', backend='pillow', interpolation='bicubic'),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
