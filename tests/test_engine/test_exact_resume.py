"""Runs that were killed or told to stop, and end as if they had not been."""

import multiprocessing
import os
import signal

import pytest
import torch

from tests.test_engine.tiny_images import LENGTH, CallHook, classifier
from vil_mm.engine import launch
from vil_mm.engine.checkpoint import use_safe_checkpoint_loading
from vil_mm.engine.resuming import INTERRUPTED, resume

pytestmark = pytest.mark.usefixtures('quick')


class Killed(BaseException):
    """Ends a run as a kill does: nothing after it runs."""


def kill(*args):
    raise Killed


def train(cfg, checkpoint=None, hook=None):
    if checkpoint:
        resume(cfg, checkpoint)
    runner = launch.build_runner(cfg)
    if hook:
        runner.register_hook(hook)
    runner.train()
    return runner


def read(path):
    use_safe_checkpoint_loading()
    return torch.load(path, weights_only=True)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """The last checkpoint of a run that was not interrupted, by the number of worker processes."""
    written = {}

    def last(workers=0):
        if workers not in written:
            folder = tmp_path_factory.mktemp('whole') / str(workers)
            train(classifier(folder, workers=workers))
            written[workers] = read(folder / 'epoch_3.pth')
        return written[workers]

    return last


def assert_equal(folder, expected):
    found = read(folder / 'epoch_3.pth')
    for part in ('state_dict', 'ema_state_dict', 'optimizer'):
        torch.testing.assert_close(found[part], expected[part], rtol=0, atol=0)
    assert found['param_schedulers'] == expected['param_schedulers']


def kill_at_call(number):
    """Make a function that kills when it is called for the given time, counted from 0."""
    calls = iter(range(100))
    return lambda *args: kill() if next(calls) == number else None


#: Where a run is killed: a hook's method and the iteration, or what is replaced and what makes the replacement.
POINTS = {
    'before the first iteration': ('before_train', 0),
    'before the first checkpoint': ('after_train_iter', 2),
    'while the first checkpoint is written': ('vil_mm.engine.atomic_backend.os.fsync', lambda: kill_at_call(0)),
    'before last_checkpoint names it': ('mmengine.hooks.checkpoint_hook.open', lambda: kill),
    'in validation': ('before_val_iter', LENGTH),
    'while the best checkpoint is written': ('vil_mm.engine.atomic_backend.os.fsync', lambda: kill_at_call(1)),
    'within the second epoch': ('after_train_iter', LENGTH + 3),
    'before the outdated checkpoint is removed': ('vil_mm.engine.SafeCheckpointHook._remove', lambda: kill),
}


@pytest.mark.parametrize('point', POINTS)
def test_a_killed_run_ends_as_if_it_had_not_been(point, whole, tmp_path, monkeypatch):
    where, what = POINTS[point]
    hook = CallHook(where, kill, what) if isinstance(what, int) else None
    with monkeypatch.context() as patch:
        if hook is None:
            patch.setattr(where, what(), raising=False)
        with pytest.raises(Killed):
            train(classifier(tmp_path / 'run'), hook=hook)
    train(classifier(tmp_path / 'run', name='resumed'), 'auto')
    assert_equal(tmp_path / 'run', whole())


def send(number):
    """Send a signal to this process and its worker processes, from another process, as Slurm does."""
    os.system(f'kill -{int(number)} {os.getpid()} {" ".join(str(p.pid) for p in multiprocessing.active_children())}')


@pytest.mark.parametrize(
    'number, workers, iteration',
    [(signal.SIGTERM, 0, LENGTH + 2), (signal.SIGTERM, 2, LENGTH + 2), (signal.SIGUSR1, 0, 2 * LENGTH - 1)],
)
def test_a_run_that_gets_a_signal_goes_on_with_the_next_batch(number, workers, iteration, whole, tmp_path):
    """Also with worker processes, and also after the last iteration of an epoch."""
    handler = signal.getsignal(number)
    hook = CallHook('before_train_iter', lambda runner: send(number), iteration)
    try:
        with pytest.raises(SystemExit) as stop:
            train(classifier(tmp_path / 'run', workers=workers), hook=hook)
    finally:
        signal.signal(number, handler)
    assert stop.value.code == 75
    assert (tmp_path / 'run' / INTERRUPTED).exists()
    assert read(tmp_path / 'run' / INTERRUPTED)['meta']['iter'] == iteration + 1
    train(classifier(tmp_path / 'run', name='resumed', workers=workers), 'auto')
    assert_equal(tmp_path / 'run', whole(workers))
    assert not (tmp_path / 'run' / INTERRUPTED).exists()


def test_training_that_counts_iterations(tmp_path):
    by_iter = dict(
        train_cfg=dict(by_epoch=False, max_iters=9, val_interval=4),
        param_scheduler=[],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=3, by_epoch=False)),
    )
    states = {}
    for name, checkpoint in (('whole', None), ('resumed', str(tmp_path / 'whole/iter_6.pth'))):
        cfg = classifier(tmp_path / name, workers=1, **by_iter)
        cfg.train_dataloader.sampler.type = 'InfiniteSampler'
        train(cfg, checkpoint)
        states[name] = read(tmp_path / name / 'iter_9.pth')['state_dict']
    torch.testing.assert_close(states['resumed'], states['whole'], rtol=0, atol=0)


def test_accumulated_gradients_are_not_lost(tmp_path):
    """The run ends after the step that uses them."""
    hook = CallHook('before_train_iter', lambda runner: os.kill(os.getpid(), signal.SIGTERM), 2)
    cfg = classifier(tmp_path / 'run')
    cfg.optim_wrapper.accumulative_counts = 2
    handler = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            train(cfg, hook=hook)
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert read(tmp_path / 'run' / INTERRUPTED)['meta']['iter'] == 4


def test_a_seed_that_no_config_names(tmp_path):
    """The resumed run draws the same images, because the sampler's seed is in the checkpoint."""
    train(classifier(tmp_path / 'whole', randomness=dict(seed=None)))
    with pytest.raises(Killed):
        cfg = classifier(tmp_path / 'run', randomness=dict(seed=None))
        train(cfg, hook=CallHook('before_val_iter', kill, LENGTH))
    meta = read(tmp_path / 'run/epoch_1.pth')['meta']
    runner = train(classifier(tmp_path / 'run', name='resumed', randomness=dict(seed=None)), 'auto')
    assert runner.train_dataloader.sampler.seed == meta['sampler_seed'] == meta['seed'] == runner.seed
