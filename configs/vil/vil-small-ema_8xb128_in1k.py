# Validates and saves an exponential moving average of the weights.
_base_ = './vil-small_8xb128_in1k.py'

custom_hooks = [dict(type='EMAHook', momentum=1e-4)]
