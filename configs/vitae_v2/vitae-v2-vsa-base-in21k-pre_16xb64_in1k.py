# Fine-tuning of the model pre-trained on ImageNet-22K. Its recipe was not published: it is L2ViT's.
_base_ = './vitae-v2-vsa-48m-in21k-pre_16xb64_in1k.py'

model = dict(backbone=dict(arch='vsa-base', drop_rate=0.1, drop_path_rate=0.4), head=dict(in_channels=1024))
load_from = 'checkpoints/vitae-v2-vsa-base_in21k.pth'
