"""The names of the metrics that an evaluator yields, as far as its metrics can tell before they have computed them."""

from collections.abc import Iterable
from typing import Any

from mmengine.evaluator import BaseMetric, Evaluator

from ...registry import nearest

#: What CocoMetric calls its averages.
PRECISIONS = ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')
RECALLS = ('AR@100', 'AR@300', 'AR@1000', 'AR_s@1000', 'AR_m@1000', 'AR_l@1000')
#: What IoUMetric yields for each of its settings.
OF_IOU = dict(mIoU=('mIoU', 'mAcc'), mDice=('mDice', 'mAcc'), mFscore=('mFscore', 'mPrecision', 'mRecall'))


def check_yields(evaluator: Evaluator, where: str, name: str) -> None:
    """Check that an evaluator yields a metric that something follows.

    Args:
        evaluator (Evaluator): The evaluator.
        where (str): The setting that names the metric, for the message.
        name (str): The name of the metric.

    Raises:
        ValueError: If the evaluator surely does not yield it. The message
            names what it yields.
    """
    if type(evaluator) is not Evaluator or not evaluator.metrics:
        return  # another class may rename the metrics
    known: list[str] = []
    for metric in evaluator.metrics:
        prefix = f'{metric.prefix}/' if getattr(metric, 'prefix', None) else ''
        own = [prefix + one for one in names_of(metric)]
        if name in own:
            return
        if not own:
            # mmengine's base class adds the prefix to all names
            if not prefix or name.startswith(prefix) or type(metric).evaluate is not BaseMetric.evaluate:
                return
            own = [f'{prefix}...']
        known += own
    raise ValueError(not_yielded(where, name, known))


def not_yielded(where: str, name: str, known: Iterable[str]) -> str:
    """Say that a metric is not among those that the evaluator yields, and which one may be meant."""
    known = list(dict.fromkeys(known))
    whole = [one for one in known if not one.endswith('...')]
    near = [one for one in whole if one.endswith(f'/{name}')] or nearest(name, whole)
    advice = f': did you mean {near[0]!r}?' if near else ''
    return f'{where}={name!r} is not among what val_evaluator yields, {", ".join(known)}{advice}'


def names_of(metric: Any) -> list[str]:
    """List the names that a metric of a known class yields, without its prefix, or nothing.

    Args:
        metric (BaseMetric): The metric.
    """
    kind = f'{type(metric).__module__.split(".")[0]}.{type(metric).__name__}'
    if kind == 'mmpretrain.Accuracy':
        ends = ['_no-thr' if thr is None else f'_thr-{thr:.2f}' for thr in metric.thrs]
        # labels without scores have the first name only
        return ['top1', *(f'top{k}{end}' for k in metric.topk for end in (ends if len(ends) > 1 else ['']))]
    if kind == 'mmseg.IoUMetric' and not metric.format_only:
        return ['aAcc', *(name for one in metric.metrics for name in OF_IOU.get(one, ()))]
    if kind == 'mmdet.CocoMetric' and not metric.format_only:
        names = [f'{one}_precision' for one in (metric.dataset_meta or {}).get('classes', ()) if metric.classwise]
        for one in metric.metrics:
            if one == 'proposal_fast':
                names += [f'AR@{number}' for number in metric.proposal_nums]
            elif one == 'proposal':
                names += metric.metric_items or RECALLS
            else:
                names += [f'{one}_{item}' for item in metric.metric_items or PRECISIONS]
        return names
    return []
