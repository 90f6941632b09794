# Pre-training on ImageNet-22K, with the recipe of ViTAEv2 of this size.
_base_ = './vitae-v2-base_16xb64_in21k.py'

model = dict(backbone=dict(arch='vsa-base'))
