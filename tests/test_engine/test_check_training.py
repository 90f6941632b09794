"""What is wrong with a training's settings is said before its first iteration."""

import pytest
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS, MODELS

from tests.test_engine.tiny import TinyModel, config
from vil_mm.engine import launch


@METRICS.register_module()
class TinyMetric(BaseMetric):
    """Yields one number, under a name that only it knows."""

    def __init__(self, prefix=None):
        super().__init__(prefix=prefix)

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(top1=1.0)


@MODELS.register_module()
class TinyPredictor(TinyModel):
    """Also predicts something."""

    def forward(self, inputs, mode='tensor'):
        return super().forward(inputs, mode) if mode == 'loss' else [{}]


def run(folder, schedule=(), metric=None, best=None, hooks=(), **others):
    """Train; return the log."""
    cfg = config(folder, schedule, length=4, train_cfg=dict(by_epoch=True, max_epochs=2), **others)
    if metric is not None:
        cfg.val_dataloader = dict(cfg.train_dataloader)
        cfg.val_cfg, cfg.val_evaluator = dict(), dict(type='TinyMetric', **metric)
    cfg.default_hooks.checkpoint.update(save_best=best)
    cfg.model.type = 'TinyPredictor'
    cfg.custom_hooks += list(hooks)
    launch.build_runner(cfg).train()
    (log,) = folder.glob('*/*.log')
    return log.read_text()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / 'run'


def test_schedules_that_do_not_fit(folder):
    log = run(folder, [dict(type='LinearLR', by_epoch=False, end=50), dict(type='CosineAnnealingLR', T_max=9)])
    assert 'param_scheduler.0 (LinearLR) would end at iteration 50, but stops at 4: is this intended?' in log
    assert 'param_scheduler.1 (CosineAnnealingLR) would end at epoch 9, but stops at 2: is this intended? ' in log
    assert 'Else set param_scheduler.1.T_max' in log


def test_schedule_that_fits(folder):
    assert 'is this intended' not in run(folder, [dict(type='CosineAnnealingLR', T_max=2)])


def test_custom_keys(folder):
    keys = {'norm': dict(decay_mult=0.0), 'layr': dict(lr_mult=0.1), 'global_tokens': dict(decay_mult=0.0)}
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1, weight_decay=0.1), paramwise_cfg=dict(custom_keys=keys))
    log = run(folder, optim_wrapper=wrapper)
    assert "custom_keys: 'layr' is in no name of a parameter, so that it has no effect; is it 'layer'?" in log
    assert log.count('custom_keys: ') == 1


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(best='acc/top1'), r"default_hooks\.checkpoint\.save_best='acc/top1' is not among .*, accuracy/\.\.\."),
        (dict(hooks=[dict(type='EarlyStoppingHook', monitor='acc')]), r"monitor of EarlyStoppingHook='acc' is not"),
        (dict(schedule=[dict(type='ReduceOnPlateauLR', monitor='x')]), r"monitor of ReduceOnPlateauLR='x' is not"),
    ],
)
def test_metrics_that_the_evaluator_surely_does_not_yield(settings, message, folder):
    with pytest.raises(ValueError, match=message):
        run(folder, metric=dict(prefix='accuracy'), **settings)
    assert not (folder / 'epoch_1.pth').exists()


@pytest.mark.parametrize('best', ['auto', 'accuracy/top1', None])
def test_metrics_that_it_yields(best, folder):
    run(folder, metric=dict(prefix='accuracy'), best=best)
    assert bool(list(folder.glob('best_*'))) == bool(best)


def test_metric_that_is_found_out_at_the_first_validation(folder):
    with pytest.raises(ValueError, match=r"save_best='acc1' is not among what val_evaluator yields, top1$"):
        run(folder, metric=dict(), best='acc1')
    with pytest.raises(ValueError, match=r"save_best='top' .* top1: did you mean 'top1'\?"):
        run(folder.parent / 'near', metric=dict(), best='top')


def test_nothing_validates(folder):
    log = run(folder, best='accuracy/top1')
    assert "default_hooks.checkpoint.save_best='accuracy/top1' has no effect: nothing validates" in log
