# Boxes alone, and one size for all images, resized with OpenCV: mmdet's own settings.
_base_ = './coco_detection_ms-crop.py'

train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='Resize', scale=(1333, 800), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
