# The publication's zip files: data/imagenet/{train,val}.zip with {train,val}_map.txt, whose lines name an image in the
# archive and its class. They are read in place.
_base_ = './imagenet_bs128_randaug_224.py'

load = dict(type='LoadImageFromFile', backend_args=dict(backend='zip'))
train_dataloader = dict(dataset=dict(type='vil_mm.ZipDataset', pipeline=[load, *_base_.train_pipeline[1:]]))
val_dataloader = dict(dataset=dict(type='vil_mm.ZipDataset', pipeline=[load, *_base_.test_pipeline[1:]]))
test_dataloader = val_dataloader
