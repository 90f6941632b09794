# ImageNet-21K, which the publication calls 22K: 21,841 classes, one folder each in data/imagenet21k/train. It has no
# validation split, so nothing is validated. Classes are numbered by the names of the folders, which are WordNet ids:
# the first 1000 are not those of ImageNet-1K, as in the published files. vil_mm.KeepFirstClassesHook finds them with
# its argument class_map.
_base_ = './imagenet_bs128_randaug_224.py'

data_preprocessor = dict(num_classes=21841)
imagenet21k = dict(_delete_=True, type='CustomDataset', data_root='data/imagenet21k', with_label=True)
train_dataloader = dict(dataset=dict(imagenet21k, data_prefix='train', pipeline=_base_.train_pipeline))
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
