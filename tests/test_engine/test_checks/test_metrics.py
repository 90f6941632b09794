"""Names of metrics that an evaluator yields, known before it has computed them."""

import pytest
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator

from vil_mm.engine.checks.metrics import check_yields


class OwnMetric(BaseMetric):
    default_prefix = 'own'

    def process(self, data_batch, data_samples): ...

    def compute_metrics(self, results): ...


def coco(**settings):
    from mmdet.evaluation import CocoMetric

    metric = CocoMetric(**settings)
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    return metric


def iou(**settings):
    from mmseg.evaluation import IoUMetric

    return IoUMetric(**settings)


def accuracy(**settings):
    from mmpretrain.evaluation import Accuracy

    return Accuracy(**settings)


@pytest.mark.parametrize(
    'metrics, yielded, others',
    [
        (
            lambda: [coco()],
            ['coco/bbox_mAP', 'coco/bbox_mAP_l'],
            {'coco/segm_mAP': 'coco/bbox_mAP', 'bbox_mAP': 'coco/bbox_mAP'},
        ),
        (lambda: [coco(metric=['bbox', 'segm'])], ['coco/segm_mAP_50'], {'coco/bbox_map': 'coco/bbox_mAP'}),
        (lambda: [coco(prefix='val')], ['val/bbox_mAP'], {'coco/bbox_mAP': 'val/bbox_mAP'}),
        (lambda: [coco(metric_items=['mAP_50'])], ['coco/bbox_mAP_50'], {'coco/bbox_mAP': 'coco/bbox_mAP_50'}),
        (lambda: [coco(classwise=True)], ['coco/dog_precision'], {'coco/cow_precision': 'coco/dog_precision'}),
        (lambda: [coco(metric='proposal')], ['coco/AR@100'], {'coco/bbox_mAP': None}),
        (lambda: [coco(metric='proposal_fast', proposal_nums=(5,))], ['coco/AR@5'], {'coco/AR@100': 'coco/AR@5'}),
        (lambda: [coco(format_only=True, outfile_prefix='a')], ['coco/anything'], {'bbox_mAP': None}),
        (lambda: [iou()], ['mIoU', 'aAcc', 'mAcc'], {'mDice': None, 'miou': 'mIoU', 'val/mIoU': 'mIoU'}),
        (lambda: [iou(iou_metrics=['mFscore'])], ['mFscore', 'mPrecision'], {'mIoU': None}),
        (lambda: [iou(prefix='val')], ['val/mIoU'], {'mIoU': 'val/mIoU'}),
        (
            lambda: [accuracy(topk=(1, 5))],
            ['accuracy/top1', 'accuracy/top5'],
            {'accuracy/top3': None, 'top5': 'accuracy/top5'},
        ),
        (lambda: [accuracy(thrs=(0.5, None))], ['accuracy/top1_thr-0.50'], {'accuracy/top1_thr-0.7': None}),
        (lambda: [OwnMetric()], ['own/anything'], {'accuracy': None, 'owner/top1': None}),
        (lambda: [OwnMetric(), iou()], ['own/anything', 'mIoU'], {'mAP': None}),
        (lambda: [DumpResults('a.pkl'), coco()], ['coco/bbox_mAP', 'anything'], {}),
    ],
)
def test_names(metrics, yielded, others):
    evaluator = Evaluator(metrics())
    for name in yielded:
        check_yields(evaluator, 'save_best', name)
    for name, near in others.items():
        with pytest.raises(
            ValueError, match=rf"save_best='{name}' is not among what val_evaluator yields, .*"
        ) as error:
            check_yields(evaluator, 'save_best', name)
        if near:
            assert f'did you mean {near!r}?' in str(error.value)


def test_evaluators_that_may_rename_metrics():
    class OwnEvaluator(Evaluator):
        pass

    check_yields(OwnEvaluator([coco()]), 'save_best', 'anything')
