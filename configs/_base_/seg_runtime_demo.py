# For demos, which take minutes: the seed is fixed.
_base_ = './seg_runtime.py'

default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=200, max_keep_ckpts=1))
randomness = dict(seed=0)
