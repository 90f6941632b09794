"""Hooks, in runs of a tiny model."""

from collections import OrderedDict

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from vil_mm.engine import PerformerRedrawHook
from vil_mm.models import PerformerAttention, SlidingWindowAttention


class Model(BaseModel):
    """Two attentions, whose ``neighbors`` it records in each forward pass; the test sets its loss."""

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


def make_runner(model, hook, train_cfg, work_dir, batches=2):
    return Runner(
        model,
        work_dir=str(work_dir),
        train_dataloader=DataLoader([dict(inputs=torch.randn(9, 4)) for _ in range(batches)], batch_size=1),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        custom_hooks=[hook],
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1, by_epoch='max_epochs' in train_cfg)),
        experiment_name=work_dir.name,
        log_level='WARNING',
    )


def train(*args, **kwargs):
    make_runner(*args, **kwargs).train()


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
    # a loop that counts iterations sleeps before it begins the batches anew
    batches = 2 if train_cfg['by_epoch'] else 8
    train(model, dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=ratio), train_cfg, tmp_path, batches)
    assert model.seen == [['random', 'self']] * switched_at + [['all', 'self']] * (8 - switched_at)


def test_random_shift_switch_ratio_out_of_range(tmp_path):
    with pytest.raises(ValueError, match=r'switch_ratio=1\.5 must be a number from 0 to 1'):
        train(Model(), dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=1.5), dict(max_epochs=1), tmp_path)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_loss_that_is_not_finite_stops_the_run(value, tmp_path):
    model = Model(loss_factors=[1.0, 1.0, value])
    message = rf'iteration 3 \(epoch 2\): the loss is not finite: loss={value}, loss_fit={value}, loss_rest='
    with pytest.raises(FloatingPointError, match=message):
        train(model, dict(type='vil_mm.CheckFiniteLossHook'), dict(by_epoch=True, max_epochs=4), tmp_path)
    assert len(model.seen) == 3
    assert {path.name for path in tmp_path.glob('*.pth')} == {'epoch_1.pth'}


class PerformerModel(BaseModel):
    """A Performer attention and a head; records the attention's directions in each forward pass."""

    def __init__(self, num_classes=2):
        super().__init__()
        self.attention = PerformerAttention(4, 1, num_features=3)
        self.head = torch.nn.Sequential(OrderedDict(fc=torch.nn.Linear(4, num_classes)))
        self.seen = []

    def forward(self, inputs, mode='tensor'):
        self.seen.append(self.attention.projection_matrix.clone())
        return dict(loss=self.head(self.attention(inputs, (3, 3))).square().mean())


def redraws(model, first):
    """Forwards before which the directions were drawn anew."""
    seen = [first, *model.seen]
    return [i for i in range(1, len(seen)) if not torch.equal(seen[i], seen[i - 1])]


def published_redraws(epochs, batches):
    """Forwards, counted from 1, before which the published schedule redraws."""
    counter, interval, found = 0, 1, []
    for epoch in range(epochs):
        interval = 1 + 5 * epoch
        for batch in range(batches):
            if counter >= interval:
                counter = 0
                found.append(epoch * batches + batch + 1)
            else:
                counter += 1
    return found


def test_performer_redraw(tmp_path):
    model = PerformerModel()
    first = model.attention.projection_matrix.clone()
    train(model, dict(type='vil_mm.PerformerRedrawHook'), dict(by_epoch=True, max_epochs=3), tmp_path, batches=9)
    assert redraws(model, first) == published_redraws(3, 9)
    model.eval()(torch.randn(1, 9, 4))
    torch.testing.assert_close(model.seen[-1], model.seen[-2])


def test_performer_redraw_resumes(tmp_path):
    """The counter goes on where it stood: in the second epoch of nine iterations, at five."""
    hook = dict(type='vil_mm.PerformerRedrawHook')
    train(PerformerModel(), hook, dict(by_epoch=True, max_epochs=2), tmp_path / 'a', batches=9)
    model = PerformerModel()
    runner = make_runner(model, hook, dict(by_epoch=True, max_epochs=3), tmp_path / 'b', batches=9)
    runner._load_from, runner._resume = str(tmp_path / 'a/epoch_2.pth'), True
    runner.load_or_resume()
    first = model.attention.projection_matrix.clone()
    runner.train()
    assert redraws(model, first) == [i - 18 for i in published_redraws(3, 9) if i > 18]


def test_performer_redraw_errors():
    with pytest.raises(ValueError, match='first=-1 must be an integer of at least 0'):
        PerformerRedrawHook(first=-1)


def test_keep_first_classes(tmp_path):
    large, small = PerformerModel(num_classes=7), PerformerModel(num_classes=3)
    torch.save(dict(state_dict=large.state_dict()), tmp_path / 'large.pth')
    runner = make_runner(small, dict(type='vil_mm.KeepFirstClassesHook'), dict(by_epoch=True, max_epochs=1), tmp_path)
    runner.load_checkpoint(str(tmp_path / 'large.pth'), strict=True)
    torch.testing.assert_close(small.head.fc.weight, large.head.fc.weight[:3])
    torch.testing.assert_close(small.head.fc.bias, large.head.fc.bias[:3])


@pytest.mark.parametrize('kind', ['list', 'file', 'folder'])
def test_keep_classes_by_name(kind, tmp_path):
    large, small = PerformerModel(num_classes=7), PerformerModel(num_classes=3)
    names = [f'n{i}' for i in (8, 2, 5, 1, 9, 4, 7)]
    torch.save(dict(state_dict=large.state_dict(), meta=dict(dataset_meta=dict(classes=names))), tmp_path / 'large.pth')
    for name in ('n1', 'n4', 'n8'):
        (tmp_path / 'train' / name).mkdir(parents=True)
    (tmp_path / 'classes.txt').write_text('n1 tench\nn4 goldfish\nn8 shark\n')
    class_map = dict(list=['n1', 'n4', 'n8'], file=str(tmp_path / 'classes.txt'), folder=str(tmp_path / 'train'))[kind]
    hook = dict(type='vil_mm.KeepFirstClassesHook', class_map=class_map)
    runner = make_runner(small, hook, dict(by_epoch=True, max_epochs=1), tmp_path)
    runner.load_checkpoint(str(tmp_path / 'large.pth'), strict=True)
    torch.testing.assert_close(small.head.fc.weight, large.head.fc.weight[[3, 5, 0]])
    torch.testing.assert_close(small.head.fc.bias, large.head.fc.bias[[3, 5, 0]])


@pytest.mark.parametrize(
    'class_map, classes, message',
    [
        (None, list('abcdefg'), r"class_map=None takes the first 3.*begin with \['a', 'b', 'c'\]"),
        (['a', 'b', 'x'], list('abcdefg'), r"names classes that the checkpoint lacks: \['x'\], 1 in all"),
        (['a', 'b'], list('abcdefg'), 'names 2 classes; the model has 3'),
        (['a', 'b', 'c'], None, 'needs a checkpoint that names the 7 classes of its head; this one names no classes'),
        (['a', 'b', 'c'], list('abc'), 'this one names 3 classes'),
    ],
)
def test_classes_that_cannot_be_told(class_map, classes, message, tmp_path):
    large, small = PerformerModel(num_classes=7), PerformerModel(num_classes=3)
    meta = dict(dataset_meta=dict(classes=classes)) if classes else {}
    torch.save(dict(state_dict=large.state_dict(), meta=meta), tmp_path / 'large.pth')
    hook = dict(type='vil_mm.KeepFirstClassesHook', class_map=class_map)
    runner = make_runner(small, hook, dict(by_epoch=True, max_epochs=1), tmp_path)
    with pytest.raises(ValueError, match=message):
        runner.load_checkpoint(str(tmp_path / 'large.pth'))


def test_keep_first_classes_of_no_head(tmp_path):
    model = PerformerModel()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'model.pth')
    hook = dict(type='vil_mm.KeepFirstClassesHook', head='head.linear')
    runner = make_runner(model, hook, dict(by_epoch=True, max_epochs=1), tmp_path)
    with pytest.raises(ValueError, match=r"head='head.linear' must be the name of a linear layer"):
        runner.load_checkpoint(str(tmp_path / 'model.pth'))
