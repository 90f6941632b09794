"""Runs in two processes, over gloo, and in one, in double precision."""

import os
import signal

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS
from torch import nn

from tests.conftest import FORKS, free_port
from tests.test_engine.tiny import config
from tests.test_engine.tiny_images import ARCH, CallHook
from vil_mm.engine import launch
from vil_mm.engine.checkpoint import use_safe_checkpoint_loading
from vil_mm.engine.resuming import resume
from vil_mm.models import ViL

#: How the processes share the work.
DDP = dict(custom_hooks=[dict(type='EMAHook', momentum=0.1)])
SHARDED = dict(custom_hooks=[], runner_type='FlexibleRunner', strategy=dict(type='vil_mm.FullyShardStrategy'))


@MODELS.register_module()
class DoubleClassifier(BaseModel):
    """A classifier that recomputes its activations and draws no random numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = ViL(ARCH, img_size=16, out_type='avg_featmap', drop_path_rate=0.0, with_cp=True)
        self.backbone.init_weights()
        self.head = nn.Linear(8, 3)
        self.double()

    def forward(self, inputs, labels, mode='tensor'):
        return dict(loss=nn.functional.cross_entropy(self.head(self.backbone(inputs)[-1]), labels))


@DATASETS.register_module()
class DoubleImages(torch.utils.data.Dataset):
    def __len__(self):
        return 16

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(3, 16, 16, generator=generator, dtype=torch.float64), labels=index % 3)


def run(folder, name, rank, processes, port, parts, checkpoint=None, kill_at=None):
    """Be one process of a run."""
    folder.mkdir(exist_ok=True)
    log = os.open(folder / f'{name}{rank}.txt', os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    env = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=processes, MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    os.environ.update({key: str(value) for key, value in env.items()})
    cfg = config(
        folder,
        model=dict(type='DoubleClassifier'),
        batch_size=4 // processes,
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(
            optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1),
            accumulative_counts=2,
            clip_grad=dict(max_norm=0.5),
            paramwise_cfg=dict(bias_decay_mult=0.0),
        ),
        launcher='pytorch' if processes > 1 else 'none',
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        experiment_name=name,
        **parts,
    )
    cfg.train_dataloader.dataset = dict(type='DoubleImages')
    if checkpoint:
        resume(cfg, checkpoint)
    runner = launch.build_runner(cfg)
    if kill_at is not None:
        runner.register_hook(CallHook('after_train_iter', lambda runner: os.kill(os.getpid(), signal.SIGKILL), kill_at))
    runner.train()


def start(folder, name, processes, *args, **kwargs):
    """Run in so many processes; their exit codes."""
    port = free_port()
    started = [
        FORKS.Process(target=run, args=(folder, name, rank, processes, port, *args), kwargs=kwargs)
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
    return [process.exitcode for process in started]


def read(path):
    use_safe_checkpoint_loading()
    return torch.load(path, weights_only=True)


def test_processes_equal_one(tmp_path):
    """With accumulated and clipped gradients, a moving average and recomputed activations; sharded or not."""
    states = {}
    for name, processes, parts in (('one', 1, DDP), ('ddp', 2, DDP), ('sharded', 2, SHARDED)):
        codes = start(tmp_path / name, name, processes, parts)
        assert codes == [0] * processes, (tmp_path / name / f'{name}0.txt').read_text()[-3000:]
        states[name] = read(tmp_path / name / 'epoch_3.pth')
    one, ddp, sharded = states.values()
    for part in ('state_dict', 'ema_state_dict'):
        torch.testing.assert_close(ddp[part], one[part], rtol=1e-9, atol=1e-9)
    trained = {name.removeprefix('module.'): value for name, value in one['ema_state_dict'].items() if name != 'steps'}
    torch.testing.assert_close(dict(sharded['state_dict']), trained, rtol=1e-9, atol=1e-9)
    for other in (ddp, sharded):
        torch.testing.assert_close(other['optimizer']['state'], one['optimizer']['state'], rtol=1e-9, atol=1e-9)


@pytest.mark.slow
def test_a_sharded_run_is_killed_and_resumed(tmp_path):
    """Sharded again, and in a single process, to which its checkpoint is like any other."""
    folder = tmp_path / 'run'
    assert start(folder, 'whole', 2, SHARDED) == [0, 0]
    whole = read(folder / 'epoch_3.pth')
    (folder / 'epoch_3.pth').unlink()
    (folder / 'epoch_2.pth').unlink()
    (folder / 'last_checkpoint').unlink()
    assert start(folder, 'killed', 2, SHARDED, 'auto', kill_at=9) == [-9, -9]
    assert start(folder, 'resumed', 2, SHARDED, 'auto') == [0, 0], (folder / 'resumed0.txt').read_text()[-3000:]
    resumed = read(folder / 'epoch_3.pth')
    for part in ('state_dict', 'optimizer'):
        torch.testing.assert_close(resumed[part], whole[part], rtol=0, atol=0)
    other = tmp_path / 'other'
    assert start(other, 'single', 1, dict(custom_hooks=[]), str(folder / 'epoch_2.pth')) == [0]
    torch.testing.assert_close(read(other / 'epoch_3.pth')['state_dict'], whole['state_dict'], rtol=1e-9, atol=1e-9)
