# Fine-tuning on ImageNet-1K. Its recipe was not published: it is L2ViT's, with the moving average of ViTAEv2.
_base_ = './imagenet_bs1024_adamw_30e-ema1e-4.py'

custom_hooks = [dict(type='EMAHook', momentum=1 - 0.99996**2, update_buffers=True)]
