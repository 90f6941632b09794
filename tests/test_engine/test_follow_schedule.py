"""The schedule of a resumed run is that of a run with the same config from the beginning."""

import re
from types import SimpleNamespace

import pytest
import torch

from tests.test_engine.tiny import config, record
from tests.test_engine.tiny_images import ARCH, classifier
from vil_mm.engine import launch
from vil_mm.engine.checkpoint import use_safe_checkpoint_loading
from vil_mm.engine.hooks.follow_schedule import recompute
from vil_mm.engine.resuming import resume


def read(path):
    """Read all of a run's checkpoint."""
    use_safe_checkpoint_loading()
    return torch.load(path, weights_only=True)


def converted(kind, **kwargs):
    return dict(type=kind, by_epoch=True, convert_to_iter_based=True, **kwargs)


WARMUP = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=10)
#: The schedules of the configs, and mmengine's others that depend on the iteration alone.
SCHEDULES = dict(
    cosine=[converted('LinearLR', start_factor=0.01, end=2), converted('CosineAnnealingLR', eta_min=1e-3, T_max=6)],
    cosine_after=[
        converted('LinearLR', start_factor=1e-6, end=2),
        converted('CosineAnnealingLR', eta_min=1e-3, begin=2, end=6, T_max=4),
    ],
    half_epoch=[converted('LinearLR', start_factor=0.01, end=0.5), converted('CosineAnnealingLR', end=6)],
    iterations_and_cosine=[WARMUP, converted('CosineAnnealingLR', eta_min=1e-3, end=6, T_max=6)],
    by_epoch=[
        dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=3),
        dict(type='CosineAnnealingLR', eta_min=1e-3, by_epoch=True, end=5, T_max=4),
    ],
    steps=[WARMUP, dict(type='MultiStepLR', by_epoch=True, end=6, milestones=[1, 3], gamma=0.1)],
    poly=[WARMUP, dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=10, end=48)],
    constant=[converted('ConstantLR', factor=0.5, end=3), converted('ExponentialLR', gamma=0.99)],
    step=[converted('StepLR', step_size=2), dict(type='CosineAnnealingMomentum', by_epoch=True, eta_min=0.5, T_max=6)],
    restart=[converted('CosineRestartLR', periods=[2, 4], restart_weights=[1, 0.5], eta_min=1e-3)],
)


def train(cfg, checkpoint=None):
    """Train, from a checkpoint if there is one; the optimizer's settings in each iteration."""
    if checkpoint:
        resume(cfg, str(checkpoint))
    runner = launch.build_runner(cfg)
    runner.train()
    return record(runner)


@pytest.fixture(autouse=True, scope='module')
def other_tests_load_as_before():
    """Keep the tools' safe loading of checkpoints, which is for the whole process, out of other tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, 'use_safe_checkpoint_loading', lambda: None)
        yield


@pytest.fixture(scope='module')
def interrupted(tmp_path_factory):
    """The checkpoint after two epochs of twelve iterations, of a run with one of the schedules."""
    written = {}

    def checkpoint(name):
        if name not in written:
            folder = tmp_path_factory.mktemp(name) / 'first'
            train(config(folder, SCHEDULES[name], train_cfg=dict(by_epoch=True, max_epochs=2)))
            written[name] = folder / 'epoch_2.pth'
        return written[name]

    return checkpoint


@pytest.mark.parametrize('name', SCHEDULES)
def test_other_batch_size(name, interrupted, tmp_path):
    """Three images per iteration instead of two: eight iterations per epoch instead of twelve."""
    fresh = train(config(tmp_path / 'fresh', SCHEDULES[name], batch_size=3))
    assert len(fresh) == 48 and len({group[0]['lr'] for group in fresh.values()}) > 2
    resumed = train(config(tmp_path / 'resumed', SCHEDULES[name], batch_size=3), interrupted(name))
    assert resumed == {i: groups for i, groups in fresh.items() if i >= 16}


def test_other_amount_of_data_and_length_of_training(interrupted, tmp_path):
    """Sixteen images instead of 24, and eight epochs instead of two."""
    changes = dict(length=16, train_cfg=dict(by_epoch=True, max_epochs=8))
    fresh = train(config(tmp_path / 'fresh', SCHEDULES['cosine'], **changes))
    resumed = train(config(tmp_path / 'resumed', SCHEDULES['cosine'], **changes), interrupted('cosine'))
    assert resumed == {i: groups for i, groups in fresh.items() if i >= 16} and max(resumed) == 63


def test_other_settings(interrupted, tmp_path):
    """Overrides of the optimizer have effect, also for groups of parameters with settings of their own."""
    wrapper = dict(
        optimizer=dict(type='SGD', lr=0.4, momentum=0.8, weight_decay=0.02),
        paramwise_cfg=dict(custom_keys=dict(norm=dict(lr_mult=0.5, decay_mult=0.0))),
    )
    for folder, settings in (('first', dict(lr=0.1)), ('fresh', {}), ('resumed', {})):
        cfg = config(tmp_path / folder, SCHEDULES['steps'], optim_wrapper=wrapper)
        cfg.optim_wrapper.optimizer.update(settings)
        if folder == 'first':
            cfg.train_cfg.max_epochs = 2
        groups = train(cfg, tmp_path / 'first/epoch_2.pth' if folder == 'resumed' else None)
        if folder == 'fresh':
            fresh = groups
    assert groups == {i: group for i, group in fresh.items() if i >= 24}
    # the weight decay alone, without a change of the schedule
    cfg = config(tmp_path / 'decay', SCHEDULES['steps'], optim_wrapper=wrapper)
    cfg.optim_wrapper.optimizer.update(lr=0.1, weight_decay=0.5)
    groups = train(cfg, tmp_path / 'first/epoch_2.pth')[24]
    assert {group['weight_decay'] for group in groups} == {0.5, 0.0}


def test_without_a_schedule(tmp_path):
    train(config(tmp_path / 'first', train_cfg=dict(by_epoch=True, max_epochs=2)))
    resumed = train(config(tmp_path / 'resumed', lr=0.3, batch_size=3), tmp_path / 'first/epoch_2.pth')
    assert min(resumed) == 16 and {group[0]['lr'] for group in resumed.values()} == {0.3}


@pytest.mark.parametrize('batch_size', [2, 3])
def test_training_that_counts_iterations(batch_size, tmp_path):
    """It goes on at the same iteration, whatever the batch size, with the learning rate of that iteration."""
    train_cfg = dict(by_epoch=False, max_iters=48, val_interval=48)
    train(config(tmp_path / 'first', SCHEDULES['poly'], train_cfg=dict(train_cfg, max_iters=24)))
    fresh = train(config(tmp_path / 'fresh', SCHEDULES['poly'], batch_size, train_cfg=train_cfg))
    resumed = config(tmp_path / 'resumed', SCHEDULES['poly'], batch_size, train_cfg=train_cfg)
    assert train(resumed, tmp_path / 'first/iter_24.pth') == {i: groups for i, groups in fresh.items() if i >= 24}


def test_resuming_without_changes_equals_no_interruption(tmp_path):
    cfg = config(tmp_path / 'whole', SCHEDULES['cosine'])
    whole = train(cfg)
    resumed = train(config(tmp_path / 'resumed', SCHEDULES['cosine']), tmp_path / 'whole/epoch_2.pth')
    assert resumed == {i: groups for i, groups in whole.items() if i >= 24}
    states = [read(tmp_path / f'{name}/epoch_6.pth') for name in ('whole', 'resumed')]
    torch.testing.assert_close(states[1]['state_dict'], states[0]['state_dict'], rtol=0, atol=0)
    assert states[1]['param_schedulers'] == states[0]['param_schedulers']


def test_checkpoint_within_an_epoch(tmp_path):
    """The epoch goes on or, if it has another length, begins anew."""
    cfg = config(tmp_path / 'first', SCHEDULES['cosine'])
    cfg.default_hooks.checkpoint.update(by_epoch=False, interval=17)
    whole = train(cfg)
    resumed = train(config(tmp_path / 'resumed', SCHEDULES['cosine']), tmp_path / 'first/iter_17.pth')
    assert resumed == {i: groups for i, groups in whole.items() if i >= 17}
    other = train(config(tmp_path / 'other', SCHEDULES['cosine'], batch_size=3), tmp_path / 'first/iter_17.pth')
    assert min(other) == 8


@pytest.mark.parametrize('by_epoch', [True, False])
def test_another_batch_size_is_reported(by_epoch, tmp_path):
    train_cfg = dict(by_epoch=True, max_epochs=2) if by_epoch else dict(by_epoch=False, max_iters=24, val_interval=24)
    train(config(tmp_path / 'first', train_cfg=train_cfg))
    train_cfg = dict(train_cfg, **(dict(max_epochs=3) if by_epoch else dict(max_iters=30)))
    checkpoint = tmp_path / ('first/epoch_2.pth' if by_epoch else 'first/iter_24.pth')
    train(config(tmp_path / 'other', batch_size=6, train_cfg=train_cfg), checkpoint)
    log = next((tmp_path / 'other').rglob('*.log')).read_text()
    unit = 'epoch' if by_epoch else 'iteration'
    assert re.search(
        r'with 2 images per step \(1 processes x 2 images\)\. The run goes on with 6 \(1 processes x 6 images\)\. '
        rf'Training ends at the same {unit}, and learning rates follow the config, .* scale them by 3, see',
        log,
    )


def test_code_in_the_config_of_a_checkpoint_does_not_run(interrupted, tmp_path):
    """mmengine would run it when a run resumes."""
    state = read(interrupted('cosine'))
    state['meta']['config'] = f'open({str(tmp_path / "ran")!r}, "w")'
    torch.save(state, tmp_path / 'code.pth')
    train(config(tmp_path / 'run', SCHEDULES['cosine']), tmp_path / 'code.pth')
    assert not (tmp_path / 'ran').exists()


def test_schedule_that_follows_a_metric(tmp_path):
    plateau = [dict(type='ReduceOnPlateauLR', monitor='loss', by_epoch=True)]
    train(config(tmp_path / 'first', plateau, train_cfg=dict(by_epoch=True, max_epochs=2)))
    path = tmp_path / 'first/epoch_2.pth'
    assert min(train(config(tmp_path / 'same', plateau), path)) == 24
    message = r'iteration 24, after 2 epochs\. The run goes on at iteration 16.* ReduceOnPlateauLR cannot be recomputed'
    with pytest.raises(ValueError, match=message):
        train(config(tmp_path / 'other', plateau, batch_size=3), path)


def test_runner_that_shards_the_optimizer():
    """As with FSDP: its schedule is not recomputed, so that the epochs must be as long as before."""
    runner = SimpleNamespace(param_schedulers=[], train_dataloader=range(8), _load_from='epoch_2.pth')
    assert not recompute(runner, dict(meta=dict(epoch=3, iter=24)), by_iter=False)
    with pytest.raises(ValueError, match=r'iteration 24, after 2 epochs\..* iteration 16, .* cannot be recomputed'):
        recompute(runner, dict(meta=dict(epoch=2, iter=24)), by_iter=False)


def test_checkpoints_that_cannot_be_resumed(interrupted, tmp_path):
    path = interrupted('cosine')
    with pytest.raises(ValueError, match=r'epoch_2\.pth has 2 epochs, but train_cfg ends after 1: set a later end'):
        train(config(tmp_path / 'past', SCHEDULES['cosine'], train_cfg=dict(by_epoch=True, max_epochs=1)), path)
    state = read(path)
    for i, (lacks, kept) in enumerate(
        (('epoch, iter, optimizer, message_hub', ('state_dict',)), ('optimizer', ('state_dict', 'meta', 'message_hub')))
    ):
        torch.save({name: state[name] for name in kept}, tmp_path / 'part.pth')
        with pytest.raises(ValueError, match=rf'part\.pth cannot be resumed, because it lacks {lacks}, like'):
            train(config(tmp_path / f'lacks_{i}'), tmp_path / 'part.pth')


def test_checkpoint_of_another_model(interrupted, tmp_path):
    state = read(interrupted('cosine'))
    for i, (change, name) in enumerate(
        (
            (dict(extra=torch.zeros(1)), r'extra \(and 0 more\): there it is of shape \(1,\), here missing'),
            (
                {'layer.weight': torch.zeros(3, 2)},
                r'layer\.weight \(and 0 more\): there it is of shape \(3, 2\), here of shape \(2, 2\)',
            ),
            ({'layer.bias': None}, r'layer\.bias \(and 0 more\): there it is missing, here of shape \(2,\)'),
        )
    ):
        changed = {k: v for k, v in {**state['state_dict'], **change}.items() if v is not None}
        torch.save({**state, 'state_dict': changed}, tmp_path / 'other.pth')
        with pytest.raises(ValueError, match=rf'other\.pth .* of another model, which differs in {name}'):
            train(config(tmp_path / f'run_{i}'), tmp_path / 'other.pth')


@pytest.mark.parametrize(
    'changes, difference',
    [
        (
            {'model.head.num_classes': 5, 'model.head.loss.num_classes': 5, 'data_preprocessor.num_classes': 5},
            r'differs in head\.fc\.bias \(and 1 more\): there it is of shape \(3,\), here of shape \(5,\)\. In its '
            r'config, model\.head\.(loss\.)?num_classes is 3, not 5',
        ),
        (
            {'model.backbone.arch': ARCH.replace('d8', 'd16'), 'model.head.in_channels': 16},
            r'differs in backbone\..*\. In its config, model\.backbone\.arch is .*d8.*, not .*d16',
        ),
    ],
)
def test_another_architecture_or_number_of_classes(changes, difference, tmp_path):
    launch.build_runner(classifier(tmp_path / 'run', epochs=1)).train()
    cfg = classifier(tmp_path / 'other', epochs=2)
    cfg.merge_from_dict(changes)
    with pytest.raises(ValueError, match=rf'of another model, which {difference}'):
        train(cfg, tmp_path / 'run/epoch_1.pth')


def test_nothing_left_to_train(interrupted, tmp_path):
    cfg = config(tmp_path / 'done', SCHEDULES['cosine'], train_cfg=dict(by_epoch=True, max_epochs=2))
    assert train(cfg, interrupted('cosine')) == {}
    log = next((tmp_path / 'done').rglob('*.log')).read_text()
    assert 'has all 2 epochs of train_cfg: there is nothing left to train' in log


@pytest.mark.parametrize('own', [False, True])
def test_best_checkpoint_of_another_run_stays(own, interrupted, tmp_path):
    """mmengine deletes the best checkpoint once there is a better one: of this run, but of no other."""
    folder = tmp_path / ('resumed' if own else 'other')
    state = read(interrupted('cosine'))
    state['message_hub']['runtime_info']['best_ckpt'] = str(folder / 'best.pth')
    torch.save(state, tmp_path / 'epoch_2.pth')
    cfg = config(tmp_path / 'resumed', SCHEDULES['cosine'])
    resume(cfg, str(tmp_path / 'epoch_2.pth'))
    runner = launch.build_runner(cfg)
    runner.train()
    assert ('best_ckpt' in runner.message_hub.runtime_info) == own


def test_weights_to_start_from_are_loaded_as_they_are(interrupted, tmp_path):
    """Without resuming, the first epoch is the first."""
    cfg = config(tmp_path / 'start', SCHEDULES['cosine'], load_from=str(interrupted('cosine')))
    assert min(train(cfg)) == 0


def test_checkpoint_of_another_optimizer(interrupted, tmp_path):
    optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.1))
    with pytest.raises(ValueError, match=r"another optimizer, with \['dampening', .* instead of \['amsgrad', 'betas'"):
        train(config(tmp_path / 'adamw', SCHEDULES['cosine'], optim_wrapper=optim_wrapper), interrupted('cosine'))
