"""Runs of a model with one layer, which take a fraction of a second."""

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, MODELS
from torch import nn


@MODELS.register_module()
class TinyModel(BaseModel):
    """A linear layer, and a norm whose parameters are a group of their own if the config says so."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.LayerNorm(2)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.norm(self.layer(inputs)).square().mean())


@DATASETS.register_module()
class TinyDataset(torch.utils.data.Dataset):
    """As many samples as are asked for."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return dict(inputs=torch.full((2,), float(index)))


@HOOKS.register_module()
class RecordHook(Hook):
    """Records the optimizer's settings in each iteration, by its number."""

    def before_train(self, runner):
        self.groups = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.param_groups
        self.groups[runner.iter] = [{k: v for k, v in group.items() if k != 'params'} for group in groups]


def config(work_dir, schedule=(), batch_size=2, length=24, lr=0.1, train_cfg=None, **others):
    """A config for :func:`vil_mm.engine.launch.build_runner`."""
    train_cfg = train_cfg or dict(by_epoch=True, max_epochs=6)
    by_epoch = train_cfg['by_epoch']
    return Config(
        dict(
            model=dict(type='TinyModel'),
            work_dir=str(work_dir),
            experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
            train_dataloader=dict(
                batch_size=batch_size,
                num_workers=0,
                collate_fn=dict(type='default_collate'),
                sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=False),
                dataset=dict(type='TinyDataset', length=length),
            ),
            train_cfg=train_cfg,
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr, momentum=0.9, weight_decay=0.01)),
            param_scheduler=list(schedule),
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1 if by_epoch else 24, by_epoch=by_epoch)
            ),
            custom_hooks=[dict(type='RecordHook')],
            log_level='WARNING',
            launcher='none',
            default_scope='mmengine',
        )
        | others
    )


def record(runner):
    """The optimizer's settings in each iteration of a runner that has trained."""
    return next(hook for hook in runner.hooks if isinstance(hook, RecordHook)).groups
