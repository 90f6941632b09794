# Images of 28 pixels. Normalizing turns their one channel into three.
_base_ = './cifar10_bs32_224.py'

data_preprocessor = dict(mean=[33.318] * 3, std=[78.567] * 3)
train_pipeline = [
    dict(type='RandomCrop', crop_size=28, padding=2),
    dict(type='Resize', scale=224, backend='pillow', interpolation='bicubic'),
    dict(type='PackInputs'),
]
mnist = dict(type='MNIST', data_root='data/mnist')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **mnist))
val_dataloader = dict(dataset=dict(test_mode=True, **mnist))  # which, and not the split, says which images
test_dataloader = val_dataloader
