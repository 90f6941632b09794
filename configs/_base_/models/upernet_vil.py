# The publication has no segmenter. The sliding window is in all stages, as in its detectors; each output has a norm.
_base_ = './upernet.py'

model = dict(
    backbone=dict(
        type='vil_mm.ViL',
        arch='small',
        attn_cfg=dict(type='vil_mm.SlidingWindowAttention'),
        output_norm='each',
        drop_path_rate=0.3,
    ),
)
