# For demos, which take minutes: the seed is fixed.
_base_ = './cls_runtime.py'

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
