"""The schedules of learning rates and the like against the length of the training."""

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)
from mmengine.registry import PARAM_SCHEDULERS

from ...registry import find_class

#: Schedulers that have an end, or milestones.
KNOWN = (
    CosineAnnealingParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
    OneCycleParamScheduler,
    PolyParamScheduler,
)
#: A schedule may run this part of the training longer than the training itself.
TOLERANCE = 0.05
#: The last schedule must run for this part of the training, the last milestone for the other.
LEAST, LEAST_MILESTONE = 0.9, 1 / 3


class Mismatch(NamedTuple):
    """A scheduler that does not fit the training.

    Args:
        where (str): Its key in the config, such as ``'param_scheduler.1'``.
        what (str): What is wrong.
        fix (dict): The keys to set, with values that fit, or None where the
            user must choose.
        now (dict): Their values now, where the config has any.
    """

    where: str
    what: str
    fix: dict[str, Any]
    now: dict[str, Any]


class Span(NamedTuple):
    """A scheduler in its own unit, which is epochs or iterations.

    Args:
        where (str): Its key in the config.
        config (dict): Its config.
        kind (type): Its class.
        begin (float): When it begins.
        end (float): When it stops changing the value.
        last (float): When it has changed the value for the last time, or has
            reached its lowest value.
        total (float): The length of the training.
        unit (str): ``'epoch'`` or ``'iteration'``.
    """

    where: str
    config: dict
    kind: type
    begin: float
    end: float
    last: float
    total: float
    unit: str


def find_mismatches(cfg: Config | dict, epoch_length: int | None = None) -> list[Mismatch]:
    """List the schedulers that end after the training or clearly before, that rise, or that never step.

    Args:
        cfg (Config): The config.
        epoch_length (int, optional): Iterations per epoch. Without it,
            schedulers of another unit than the training's are left out.
    """
    train_cfg = cfg.get('train_cfg')
    if not isinstance(train_cfg, dict) or len({'max_epochs', 'max_iters'} & train_cfg.keys()) != 1:
        return []
    spans, unknown = [], False
    for where, scheduler in schedulers(cfg.get('param_scheduler')):
        kind = _class_of(scheduler, cfg)
        if kind is not None and 'max_iters' in train_cfg and _by_epoch(scheduler):
            what = f'{where} ({kind.__name__}) counts epochs and never steps in a training that counts iterations'
            return [Mismatch(where, what, {f'{where}.by_epoch': False}, {f'{where}.by_epoch': True})]
        span = _span(where, scheduler, kind, train_cfg, epoch_length)
        # warm-ups say nothing about the end of the training
        unknown |= span is None and not _warms_up(scheduler, kind)
        spans += [span] if span else []
    found = [mismatch for span in spans for mismatch in _check(span)]
    found += [mismatch for span in spans for mismatch in _check_floor(span, cfg)]
    decays = [s for s in spans if issubclass(s.kind, LRSchedulerMixin) and not _warms_up(s.config, s.kind)]
    if decays and not unknown and not found:
        span = max(decays, key=lambda span: span.last / span.total)
        milestones = issubclass(span.kind, MultiStepParamScheduler)
        if span.last / span.total < (LEAST_MILESTONE if milestones else LEAST) or (
            milestones and span.end < LEAST * span.total
        ):
            found.append(_mismatch(span, f'is over after {span.unit} {span.last:g} of {span.total:g}'))
    return found


def schedulers(node: Any, where: str = 'param_scheduler') -> Iterator[tuple[str, dict]]:
    """List the configs of schedulers, of one optimizer or several, with their keys."""
    if isinstance(node, dict) and 'type' in node:
        yield where, node
    elif isinstance(node, (dict, list, tuple)):
        for key, inner in node.items() if isinstance(node, dict) else enumerate(node):
            yield from schedulers(inner, f'{where}.{key}')


def _by_epoch(scheduler: dict) -> bool:
    """Tell whether a scheduler steps at the end of an epoch, which never comes if iterations are counted."""
    return scheduler.get('by_epoch', True) and not scheduler.get('convert_to_iter_based')


def _class_of(scheduler: dict, cfg: Config | dict) -> type | None:
    kind = find_class(scheduler['type'], PARAM_SCHEDULERS, cfg.get('default_scope'))
    return kind if inspect.isclass(kind) and issubclass(kind, KNOWN) else None


def _span(where: str, scheduler: dict, kind: type | None, train_cfg: dict, epoch_length: int | None) -> Span | None:
    """Describe a scheduler, if its class is known and the training's length is known in its unit."""
    by_iter, by_epoch = 'max_iters' in train_cfg, scheduler.get('by_epoch', True)
    total = train_cfg.get('max_iters' if by_iter else 'max_epochs')
    milestones = scheduler.get('milestones') or [0]
    numbers = [total, *(scheduler.get(name) for name in ('begin', 'end', 'T_max', 'total_steps')), *milestones]
    if kind is None or not all(isinstance(number, (int, float)) and number >= 0 for number in numbers if number):
        return None
    if not total or (by_epoch == by_iter and not epoch_length):
        return None
    if by_epoch and by_iter:
        total = total / epoch_length
    elif not by_epoch and not by_iter:
        total = total * epoch_length
    begin = scheduler.get('begin') or 0
    end = last = scheduler.get('end') or total
    if issubclass(kind, CosineAnnealingParamScheduler) and scheduler.get('T_max'):
        last = begin + scheduler['T_max']
    elif issubclass(kind, OneCycleParamScheduler) and scheduler.get('total_steps'):
        last = begin + scheduler['total_steps']
    elif issubclass(kind, MultiStepParamScheduler):
        last = begin + max(milestones)
    return Span(where, scheduler, kind, begin, end, last, total, 'epoch' if by_epoch else 'iteration')


def _warms_up(scheduler: dict, kind: type | None) -> bool:
    rises = scheduler.get('end_factor', 1.0) >= scheduler.get('start_factor', 1 / 3)
    return kind is not None and issubclass(kind, LinearParamScheduler) and rises


def _check(span: Span) -> Iterator[Mismatch]:
    stop = min(span.end, span.total)
    if issubclass(span.kind, MultiStepParamScheduler):
        if span.last >= stop > 0:
            yield _mismatch(span, f'has a milestone at {span.unit} {span.last:g}, not before the end, {stop:g}')
    elif span.last > (1 + TOLERANCE) * stop:
        yield _mismatch(span, f'would end at {span.unit} {span.last:g}, but stops at {stop:g}')
    elif issubclass(span.kind, CosineAnnealingParamScheduler) and stop - 1 > (1 + TOLERANCE) * span.last:
        yield _mismatch(span, f'has its lowest value at {span.unit} {span.last:g}, and rises again until {stop:g}')


def _check_floor(span: Span, cfg: Config | dict) -> Iterator[Mismatch]:
    wrapper = cfg.get('optim_wrapper')
    optimizer = wrapper.get('optimizer') if isinstance(wrapper, dict) else None
    rate = optimizer.get('lr') if isinstance(optimizer, dict) else None
    floor = span.config.get('eta_min')
    numbers = isinstance(rate, (int, float)) and isinstance(floor, (int, float))
    if numbers and issubclass(span.kind, LRSchedulerMixin) and floor > rate:
        key = f'{span.where}.eta_min'
        what = f'{span.where} ({span.kind.__name__}) has eta_min={floor:g}, which is above lr={rate:g}'
        yield Mismatch(span.where, what, {key: None}, {key: floor})


def _mismatch(span: Span, what: str) -> Mismatch:
    """Describe a mismatch, with the keys to set."""
    fix: dict[str, Any] = {}
    choose = span.begin >= span.total or _warms_up(span.config, span.kind)
    for name, value in (
        ('begin', None),
        ('end', span.total),
        ('T_max', span.total - span.begin),
        ('total_steps', span.total - span.begin),
        ('milestones', None),
    ):
        if span.config.get(name) is not None and (name != 'begin' or span.begin >= span.total):
            fix[f'{span.where}.{name}'] = None if choose or value is None else round(value, 3)
    now = {key: span.config[key.split('.')[-1]] for key in fix}
    kind = span.kind.__name__
    return Mismatch(span.where, f'{span.where} ({kind}) {what}', {k: v for k, v in fix.items() if v != now[k]}, now)
