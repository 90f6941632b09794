# Repeated augmentation: each image three times in an epoch's batches, in three guises; as many iterations as without.
_base_ = './vil-small_8xb128_in1k.py'

train_dataloader = dict(sampler=dict(type='RepeatAugSampler'))
