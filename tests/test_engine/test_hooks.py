"""Hooks, in runs of a tiny model."""

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vil_mm.models import SlidingWindowAttention


class Model(BaseModel):
    """Two attentions, whose neighbours it notes in each forward; its loss is told from outside."""

    def __init__(self, loss_factors=()):
        super().__init__()
        self.attentions = torch.nn.ModuleList(
            SlidingWindowAttention(4, 1, window_size=2, neighbors=neighbors) for neighbors in ('random', 'self')
        )
        self.loss_factors = list(loss_factors)
        self.seen = []

    def forward(self, inputs, mode='tensor'):
        x = sum(attention(inputs, (3, 3)) for attention in self.attentions)
        self.seen.append([attention.neighbors for attention in self.attentions])
        factor = self.loss_factors.pop(0) if self.loss_factors else 1.0
        return dict(loss_fit=x.square().mean() * factor, loss_rest=x.mean() * 0)


def train(model, hook, train_cfg, work_dir, batches=2):
    Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=DataLoader([dict(inputs=torch.randn(9, 4)) for _ in range(batches)], batch_size=1),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[hook],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch='max_epochs' in train_cfg)),
        experiment_name=work_dir.name,
        log_level='WARNING',
    ).train()


@pytest.mark.parametrize(
    'train_cfg, ratio, switched_at',
    [
        (dict(by_epoch=True, max_epochs=4), 0.75, 6),
        (dict(by_epoch=True, max_epochs=4), 0.6, 6),  # within epoch 3, so from epoch 4
        (dict(by_epoch=True, max_epochs=4), 0.0, 0),
        (dict(by_epoch=True, max_epochs=4), 1.0, 8),
        (dict(by_epoch=False, max_iters=8), 0.6, 5),
    ],
)
def test_random_shift_switch(train_cfg, ratio, switched_at, tmp_path):
    model = Model()
    train(model, dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=ratio), train_cfg, tmp_path)
    assert model.seen == [['random', 'self']] * switched_at + [['all', 'self']] * (8 - switched_at)


def test_random_shift_switch_ratio_out_of_range(tmp_path):
    with pytest.raises(ValueError, match=r'switch_ratio=1.5 must be 0 to 1'):
        train(Model(), dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=1.5), dict(max_epochs=1), tmp_path)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_loss_that_is_not_finite_stops_the_run(value, tmp_path):
    model = Model(loss_factors=[1.0, 1.0, value])
    message = rf'iteration 3 \(epoch 2\): the loss is not finite: loss={value}, loss_fit={value}, loss_rest='
    with pytest.raises(FloatingPointError, match=message):
        train(model, dict(type='vil_mm.CheckFiniteLossHook'), dict(by_epoch=True, max_epochs=4), tmp_path)
    assert len(model.seen) == 3
    assert {path.name for path in tmp_path.glob('*.pth')} == {'epoch_1.pth'}
