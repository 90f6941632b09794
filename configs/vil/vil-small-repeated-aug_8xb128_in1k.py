# Repeated augmentation: an epoch has as many iterations as without, and shows a third of the images, three times each.
_base_ = './vil-small_8xb128_in1k.py'

train_dataloader = dict(sampler=dict(type='RepeatAugSampler'))
