# See imagenet21k_bs128_randaug_224.py on classes and folders.
_base_ = './imagenet_bs128_randaug-two-interpolations_224.py'

data_preprocessor = dict(num_classes=21841)
imagenet21k = dict(_delete_=True, type='CustomDataset', data_root='data/imagenet21k', with_label=True)
train_dataloader = dict(dataset=dict(imagenet21k, data_prefix='train', pipeline=_base_.train_pipeline))
val_dataloader = val_evaluator = val_cfg = None
test_dataloader = test_evaluator = test_cfg = None
