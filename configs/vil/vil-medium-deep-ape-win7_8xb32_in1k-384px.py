# The windows that the publication evaluates this model with: the positions are absolute, so that any window fits.
_base_ = './vil-medium-deep-ape_8xb32_in1k-384px.py'

model = dict(backbone=dict(attn_cfg=dict(_delete_=True, window_size=7)))
