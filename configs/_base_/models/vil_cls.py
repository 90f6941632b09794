# The published classifiers have no global token in the last stage, so their feature is the mean of its tokens.
_base_ = './classifier.py'

model = dict(
    backbone=dict(type='vil_mm.ViL', arch='small', img_size=224, drop_path_rate=0.1), head=dict(in_channels=768)
)
