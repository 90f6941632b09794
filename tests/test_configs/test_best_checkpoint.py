"""The metric by which each config keeps its best checkpoint is one that its evaluator yields."""

import json

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook

from tests.test_configs.helpers import PATHS, load

MASK = np.zeros((8, 8), dtype=bool)
MASK[1:5, 2:7] = True
BOX = [2.0, 1.0, 5.0, 4.0]
#: What the evaluator of each library takes of one image.
SAMPLES = dict(
    mmpretrain=dict(pred_score=torch.rand(10), gt_label=torch.tensor([3])),
    mmdet=dict(
        img_id=1,
        ori_shape=(8, 8),
        pred_instances=dict(
            bboxes=torch.tensor([[2.0, 1.0, 7.0, 5.0]]),
            scores=torch.tensor([0.9]),
            labels=torch.tensor([0]),
            masks=torch.from_numpy(MASK)[None],
        ),
    ),
    mmseg=dict(
        pred_sem_seg=dict(data=torch.from_numpy(MASK)[None].long()),
        gt_sem_seg=dict(data=torch.from_numpy(MASK)[None].long()),
    ),
)


def kinds():
    """One config of each kind of metric, of ``save_best`` and of evaluator."""
    found = {}
    for name in PATHS:
        cfg = load(name)
        if cfg.val_evaluator is None:  # ImageNet-22K has no validation split
            assert cfg.default_hooks.checkpoint.save_best is None
            continue
        evaluator = {key: value for key, value in cfg.val_evaluator.items() if key != 'ann_file'}
        found.setdefault((cfg.default_hooks.checkpoint.get('save_best'), str(evaluator)), name)
    return found


def test_evaluators_yield_the_metrics(tmp_path):
    # not parameters: to read all configs would delay the start of every worker
    found = kinds()
    assert {best for best, _ in found} == {'accuracy/top1', 'coco/bbox_mAP', 'mIoU'}
    annotation = dict(id=1, image_id=1, category_id=1, bbox=BOX, area=20, iscrowd=0, segmentation=[[2, 1, 7, 1, 7, 5]])
    ground_truth = dict(
        info={},
        images=[dict(id=1, width=8, height=8, file_name='1.png')],
        categories=[dict(id=1, name='a')],
        annotations=[annotation],
    )
    (tmp_path / 'val.json').write_text(json.dumps(ground_truth))
    for (best, _), name in found.items():
        cfg = load(name)
        if cfg.val_evaluator.type == 'CocoMetric':
            cfg.val_evaluator.ann_file = str(tmp_path / 'val.json')
        evaluator = Evaluator(cfg.val_evaluator)
        evaluator.dataset_meta = dict(classes=['a', 'b'])
        evaluator.process([SAMPLES[cfg.default_scope]])
        assert best in evaluator.evaluate(1), name
        assert CheckpointHook(save_best=best).rules == ['greater'], name
