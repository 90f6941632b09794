"""The recipes that configs or overrides offer, in real runs of the small model."""

import mmengine
import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner

from tests.conftest import ROOT, epochs, options, run_in_two_processes, run_tool
from vil_mm.engine import launch
from vil_mm.engine.checkpoint import read_checkpoint
from vil_mm.engine.resuming import is_whole

NANO = ROOT / 'configs/vil/vil-nano_1xb64_digits.py'


def nano_config(root, work_dir, recipe=None, **others):
    """The small model's config, with what a recipe of ViL-Small says, and other overrides."""
    cfg = Config.fromfile(NANO)
    if recipe:
        told = Config.fromfile(ROOT / f'configs/vil/vil-small-{recipe}_8xb128_in1k.py')
        plain = Config.fromfile(ROOT / 'configs/vil/vil-small_8xb128_in1k.py')
        changes = {key: value for key, value in told.items() if value != plain.get(key) and key != 'load_from'}
        cfg.merge_from_dict(
            {'train_dataloader.sampler': changes['train_dataloader']['sampler']}
            if 'train_dataloader' in changes
            else changes
        )
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg.merge_from_dict({f'{loader}.dataset.data_root': str(root), f'{loader}.batch_size': 8})
        cfg[loader].update(num_workers=0, persistent_workers=False)
    cfg.merge_from_dict({'train_cfg.max_epochs': 1, 'work_dir': str(work_dir), 'launcher': 'none', **others})
    cfg.experiment_name = work_dir.name
    return cfg


def train(*args, **kwargs) -> Runner:
    runner = launch.build_runner(nano_config(*args, **kwargs))
    runner.train()
    return runner


def test_ema(few_digits, tmp_path):
    train(few_digits, tmp_path, 'ema')
    checkpoint = read_checkpoint(tmp_path / 'epoch_1.pth')
    # the average is saved as the weights, and the last weights as the average's copy
    averaged, last = checkpoint['state_dict'], checkpoint['ema_state_dict']
    name = 'backbone.stages.0.embed.patch_embed.projection.weight'
    assert not torch.equal(averaged[name], last[f'module.{name}'])
    fresh = Runner.from_cfg(nano_config(few_digits, tmp_path / 'again'))
    fresh.load_checkpoint(str(tmp_path / 'epoch_1.pth'), strict=True)


def test_layer_decay(few_digits, tmp_path):
    runner = train(few_digits, tmp_path, 'layer-decay')
    rates = {}
    for group in runner.optim_wrapper.optimizer.param_groups:
        rates.setdefault(group['initial_lr'] / runner.cfg.optim_wrapper.optimizer.lr, []).append(group['params'])
    depths = sum(runner.model.backbone.depths) + 2
    assert sorted(rates) == pytest.approx([0.8 ** (depths - 1 - i) for i in range(depths)])
    assert sum(len(params) for groups in rates.values() for params in groups) == len(list(runner.model.parameters()))
    undecayed = {
        id(p) for g in runner.optim_wrapper.optimizer.param_groups if not g['weight_decay'] for p in g['params']
    }
    named = dict(runner.model.named_parameters())
    assert id(named['backbone.stages.0.embed.global_tokens']) in undecayed


def test_layer_decay_is_that_of_mmpretrain(few_digits, tmp_path):
    """The rates and weight decays of all parameters are those of mmpretrain's constructor, which is for classifiers."""
    cfg = nano_config(few_digits, tmp_path, 'layer-decay')
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    def rates(constructor):
        optim_wrapper = build_optim_wrapper(model, dict(cfg.optim_wrapper, constructor=constructor))
        return {
            names[id(parameter)]: (group['lr'], group['weight_decay'])
            for group in optim_wrapper.optimizer.param_groups
            for parameter in group['params']
        }

    ours, theirs = rates(cfg.optim_wrapper.constructor), rates('LearningRateDecayOptimWrapperConstructor')
    assert ours.keys() == theirs.keys() == set(names.values())
    for name, expected in theirs.items():
        assert ours[name] == pytest.approx(expected, rel=1e-12), name


def test_repeated_augmentation(few_digits, tmp_path):
    runner = train(few_digits, tmp_path, 'repeated-aug')
    indices = list(runner.train_dataloader.sampler)
    assert len(set(indices)) < len(indices) == 32


def test_gradient_accumulation(few_digits, tmp_path):
    """Two halves of a batch make the step of the whole."""
    weights = {}
    for name, batch_size, count in (('whole', 8, 1), ('halves', 4, 2)):
        cfg = nano_config(few_digits, tmp_path / name, **{'optim_wrapper.accumulative_counts': count})
        cfg.train_dataloader.batch_size = batch_size
        cfg.train_dataloader.sampler.shuffle = False
        cfg.train_dataloader.dataset.pipeline = cfg.val_dataloader.dataset.pipeline
        # the schedule counts iterations, of which there are twice as many
        cfg.param_scheduler = None
        cfg.model.backbone.drop_path_rate = 0.0
        runner = launch.build_runner(cfg)
        runner.train()
        weights[name] = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
    torch.testing.assert_close(weights['halves'], weights['whole'], rtol=1e-3, atol=1e-5)


def test_activation_checkpointing(few_digits, tmp_path):
    plain, saving = (train(few_digits, tmp_path / str(on), **{'model.backbone.with_cp': on}) for on in (False, True))
    for (name, one), other in zip(plain.model.named_parameters(), saving.model.parameters()):
        torch.testing.assert_close(one, other, msg=name)


@pytest.mark.slow
def test_fsdp_on_two_processes(few_digits, tmp_path):
    """Trained, resumed, and tested sharded and in one process; the checkpoint is a file like any other."""
    strategy = Config.fromfile(ROOT / 'configs/vil/vil-small-fsdp_8xb128_in1k.py').strategy
    config = tmp_path / 'fsdp.py'
    config.write_text(f"_base_ = {str(NANO)!r}\nrunner_type = 'FlexibleRunner'\nstrategy = {strategy.to_dict()!r}\n")
    command = 'tools/train.py', config, '--work-dir', tmp_path, '--resume', 'auto'
    log = run_in_two_processes(*command, *options(few_digits, 8, default_hooks__logger__interval=1, **epochs(1))).stdout
    assert 'Epoch(train) [1][2/2]' in log and 'accuracy/top1' in log
    log = run_in_two_processes(*command, *options(few_digits, 8, **epochs(2))).stdout
    assert 'resumed epoch: 1, iter: 2' in log and is_whole(tmp_path / 'epoch_2.pth')
    scores = []
    runs = ('sharded', run_in_two_processes, config), ('one', run_tool, config), ('plain', run_tool, NANO)
    for name, run, tested in runs:
        words = '--work-dir', tmp_path / name, '--out', tmp_path / f'{name}.pkl', *options(few_digits, 8)
        run('tools/test.py', tested, tmp_path / 'epoch_2.pth', *words)
        scores.append([sample['pred_score'] for sample in mmengine.load(tmp_path / f'{name}.pkl')])
    torch.testing.assert_close(scores[0], scores[2])
    torch.testing.assert_close(scores[1], scores[2])
