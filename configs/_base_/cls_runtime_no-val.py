# For trainings without a validation, which have no best checkpoint.
_base_ = './cls_runtime.py'

default_hooks = dict(checkpoint=dict(save_best=None))
