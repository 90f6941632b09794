# Pre-training on ImageNet-22K. Its recipe was not published: it is that of ImageNet-1K, for 90 epochs.
_base_ = './vitae-v2-vsa-48m_16xb64_in21k.py'

model = dict(backbone=dict(arch='base', drop_rate=0.1, drop_path_rate=0.4), head=dict(in_channels=1024))
optim_wrapper = dict(optimizer=dict(weight_decay=0.065), clip_grad=dict(max_norm=5.0))
