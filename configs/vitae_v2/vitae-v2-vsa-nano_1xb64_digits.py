# A small ViTAEv2*-VSA on handwritten digits.
_base_ = [
    '../_base_/models/vitae_v2_cls.py',
    '../_base_/datasets/digits_bs64_32.py',
    '../_base_/schedules/digits_bs64_adamw.py',
    '../_base_/cls_runtime.py',
]

attn_cfgs = [dict(type='vil_mm.VariedSizeWindowAttention', window_size=4)] * 4
arch = dict(embed_dims=[32, 64, 128, 256], depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8], groups=[1, 8, 16, 32])
arch.update(branch_dims=[16, 32, 64, 128], hidden_dims=[32, 32, 64, 128], dilations=[[1, 2]] * 4)
arch.update(reduction_heads=[1, 2, 4, 8], reduction_groups=[1, 4, 8, 16], position_encoding=[True] * 4)
arch.update(attn_cfgs=attn_cfgs, reduction_attn_cfgs=attn_cfgs)

model = dict(
    backbone=dict(arch=arch, drop_path_rate=0.0),
    head=dict(num_classes=10, in_channels=256, loss=dict(num_classes=10)),
    train_cfg=None,
)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(max_keep_ckpts=2))
randomness = dict(seed=0)
