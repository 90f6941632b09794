# Boxes only.
_base_ = './coco_instance_ms-crop.py'

load_boxes = dict(type='LoadAnnotations', with_bbox=True)
train_pipeline = [load_boxes if step['type'] == load_boxes['type'] else step for step in _base_.train_pipeline]
test_pipeline = [load_boxes if step['type'] == load_boxes['type'] else step for step in _base_.test_pipeline]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric='bbox')
test_evaluator = val_evaluator
