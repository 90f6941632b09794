# Parameters, gradients and optimizer sharded over the processes.
_base_ = './vil-small_8xb128_in1k.py'

runner_type = 'FlexibleRunner'
strategy = dict(type='vil_mm.FullyShardStrategy')
