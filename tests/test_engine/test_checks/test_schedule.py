"""Schedules against the length of the training."""

import re

import pytest

from vil_mm.engine.checks.schedule import find_mismatches


def cosine(**others):
    return dict(type='CosineAnnealingLR', **others)


def steps(*milestones, **others):
    return dict(type='MultiStepLR', milestones=list(milestones), **others)


WARM_UP = dict(type='LinearLR', start_factor=0.01, end=5)
EPOCHS = dict(max_epochs=30)
ITERATIONS = dict(type='IterBasedTrainLoop', max_iters=3000)


def mismatches(train_cfg, *schedulers, epoch_length=None):
    return find_mismatches(dict(train_cfg=train_cfg, param_scheduler=list(schedulers)), epoch_length)


@pytest.mark.parametrize(
    'train_cfg, schedulers, what, fix',
    [
        # the end comes too late, or never
        (EPOCHS, [cosine(end=300, T_max=300)], 'would end at epoch 300, but stops at 30', dict(end=30, T_max=30)),
        (EPOCHS, [cosine(T_max=300)], 'would end at epoch 300', dict(T_max=30)),
        (EPOCHS, [WARM_UP, cosine(begin=5, end=60, T_max=55)], 'would end at epoch 60', dict(end=30, T_max=25)),
        (EPOCHS, [dict(type='PolyLR', end=40)], r'param_scheduler\.0 \(PolyLR\) would end at epoch 40', dict(end=30)),
        (EPOCHS, [cosine(end=15, T_max=30)], 'would end at epoch 30, but stops at 15', dict(end=30)),
        (EPOCHS, [dict(type='OneCycleLR', eta_max=1.0, total_steps=90)], 'at epoch 90', dict(total_steps=30)),
        (EPOCHS, [cosine(end=40, T_max=40, convert_to_iter_based=True)], 'at epoch 40', dict(end=30, T_max=30)),
        (ITERATIONS, [cosine(T_max=9000, by_epoch=False)], 'would end at iteration 9000', dict(T_max=3000)),
        (EPOCHS, [dict(type='LinearLR', end=40), cosine()], 'would end at epoch 40', dict(end=None)),
        (EPOCHS, [WARM_UP, cosine(begin=40, T_max=20)], 'would end at epoch 60', dict(begin=None, T_max=None)),
        (EPOCHS, [steps(8, 30)], 'has a milestone at epoch 30, not before the end, 30', dict(milestones=None)),
        (EPOCHS, [steps(8, 20, end=12)], 'epoch 20, not before the end, 12', dict(milestones=None, end=30)),
        # too early
        (EPOCHS, [cosine(T_max=10)], 'has its lowest value at epoch 10, and rises again until 30', dict(T_max=30)),
        (EPOCHS, [cosine(end=25, T_max=10)], 'rises again until 25', dict(end=30, T_max=30)),
        (EPOCHS, [WARM_UP, cosine(end=20, T_max=20)], 'is over after epoch 20 of 30', dict(end=30, T_max=30)),
        (ITERATIONS, [dict(type='PolyLR', by_epoch=False, end=1500)], 'after iteration 1500 of 3000', dict(end=3000)),
        (EPOCHS, [steps(4, 8)], 'is over after epoch 8 of 30', dict(milestones=None)),
        (EPOCHS, [steps(12, 18, end=20)], 'is over after epoch 18 of 30', dict(milestones=None, end=30)),
        (EPOCHS, [dict(WARM_UP, by_epoch=False), cosine(end=20)], 'is over after epoch 20 of 30', dict(end=30)),
        # never
        (ITERATIONS, [cosine()], r'counts epochs and never steps', dict(by_epoch=False)),
    ],
)
def test_schedules_that_do_not_fit(train_cfg, schedulers, what, fix):
    (mismatch,) = mismatches(train_cfg, *schedulers)
    assert re.search(what, mismatch.what), mismatch.what
    assert mismatch.fix == {f'{mismatch.where}.{name}': value for name, value in fix.items()}
    assert mismatch.now.keys() >= mismatch.fix.keys()


@pytest.mark.parametrize(
    'train_cfg, schedulers',
    [
        (EPOCHS, []),
        (EPOCHS, [WARM_UP]),
        (EPOCHS, [WARM_UP, cosine(begin=5, T_max=25, end=30)]),
        (EPOCHS, [cosine()]),
        (EPOCHS, [cosine(T_max=30), dict(type='LinearLR', end=0.25, convert_to_iter_based=True)]),
        (EPOCHS, [cosine(T_max=29, end=30)]),  # steps 0 to 29
        (dict(max_epochs=310), [cosine(T_max=300, end=301)]),  # the rest has the smallest rate
        (EPOCHS, [cosine(T_max=15, begin=15), dict(type='ConstantLR', factor=1.0, end=15)]),
        (EPOCHS, [cosine(T_max=10, end=10), cosine(T_max=20, begin=10)]),
        (EPOCHS, [steps(20, 27), dict(type='StepLR', step_size=100)]),
        (EPOCHS, [steps(20, 27, end=300)]),
        (EPOCHS, [cosine(T_max=10, end=10), dict(type='ExponentialLR', gamma=0.9, begin=10)]),
        (EPOCHS, [dict(type='CosineRestartLR', periods=[50], eta_min=0.0)]),
        (EPOCHS, [dict(type='CosineAnnealingMomentum', T_max=10, end=10)]),
        (EPOCHS, [dict(type='LinearLR', by_epoch=False, end=500), cosine()]),  # the length of an epoch is not known
        (ITERATIONS, [cosine(convert_to_iter_based=True, T_max=9)]),
        (ITERATIONS, [dict(type='ReduceOnPlateauLR', monitor='loss')]),
        (dict(max_epochs='many'), [cosine(T_max=10)]),
        (dict(), [cosine(T_max=10)]),
        ('EpochBasedTrainLoop', [cosine(T_max=10)]),
        (EPOCHS, [cosine(T_max='ten'), steps('8')]),
        (EPOCHS, [cosine(T_max=30, begin=None, end=None)]),
        (dict(max_epochs=5, max_iters=5), [cosine(T_max=10)]),
    ],
)
def test_schedules_that_fit_or_cannot_be_known(train_cfg, schedulers):
    assert mismatches(train_cfg, *schedulers) == []


def test_other_units_with_the_length_of_an_epoch():
    warm_up = dict(type='LinearLR', by_epoch=False, end=500)
    assert mismatches(EPOCHS, warm_up, cosine(), epoch_length=20) == []
    (mismatch,) = mismatches(EPOCHS, warm_up, cosine(), epoch_length=10)
    assert 'would end at iteration 500, but stops at 300' in mismatch.what
    converted = cosine(convert_to_iter_based=True, T_max=9)
    assert mismatches(ITERATIONS, converted, epoch_length=333) == []
    (mismatch,) = mismatches(ITERATIONS, converted, epoch_length=100)
    assert mismatch.fix == {'param_scheduler.0.T_max': 30}


@pytest.mark.parametrize('key, wrap', [('', lambda s: s), ('.gen', lambda s: dict(gen=s)), ('.0', lambda s: (s,))])
def test_schedulers_of_one_optimizer_or_several(key, wrap):
    (mismatch,) = find_mismatches(dict(train_cfg=EPOCHS, param_scheduler=wrap(cosine(T_max=300))))
    assert mismatch.where == f'param_scheduler{key}'


def test_lowest_rate_above_the_rate():
    cfg = dict(train_cfg=EPOCHS, param_scheduler=[cosine(eta_min=1e-5)], optim_wrapper=dict(optimizer=dict(lr=1e-6)))
    (mismatch,) = find_mismatches(cfg)
    assert mismatch.what == 'param_scheduler.0 (CosineAnnealingLR) has eta_min=1e-05, which is above lr=1e-06'
    for wrapper in (None, 'words', dict(optimizer='SGD'), dict(a=dict(optimizer=dict(lr=1e-6)))):
        assert find_mismatches(dict(cfg, optim_wrapper=wrapper)) == []
    for lr in (1e-5, 1e-4, None):
        assert find_mismatches(dict(cfg, optim_wrapper=dict(optimizer=dict(lr=lr)))) == []
