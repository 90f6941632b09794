"""NaN and infinite values in images, gradients and weights."""

import pytest
import torch

from tests.test_engine.tiny_images import CallHook, classifier
from vil_mm.engine import launch

pytestmark = pytest.mark.usefixtures('quick')
WEIGHT = 'backbone.stages.1.blocks.0.attn.proj.weight'


def train(folder, hook, **others):
    runner = launch.build_runner(classifier(folder, **others))
    runner.register_hook(hook)
    runner.train()


def spoil_gradient(runner):
    parameter = dict(runner.model.named_parameters())[WEIGHT]
    parameter.register_hook(lambda gradient: gradient.index_fill(0, torch.tensor([0]), torch.nan))


@pytest.mark.parametrize('clip_grad', [None, dict(max_norm=1.0)])
def test_a_gradient(clip_grad, tmp_path):
    """It is named also if clipping spreads it to all gradients."""
    optim_wrapper = dict(optimizer=dict(type='AdamW', lr=0.01), clip_grad=clip_grad)
    message = (
        rf'iteration 3 .*: the gradient is not finite: loss=[\d.]+\. Of \d+ gradients, 1 are not .*: first {WEIGHT}'
    )
    with pytest.raises(FloatingPointError, match=message):
        train(tmp_path / 'run', CallHook('before_train_iter', spoil_gradient, 2), optim_wrapper=optim_wrapper)
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_a_pixel(tmp_path, monkeypatch):
    def pack_nan(self, sample):
        packed = pack(self, sample)
        packed['inputs'] = packed['inputs'].float()
        if sample['number'] == 4:
            packed['inputs'][0, 0, 0] = torch.nan
        return packed

    from tests.test_engine.tiny_images import TinyImages

    pack = TinyImages.pack
    monkeypatch.setattr(TinyImages, 'pack', pack_nan)
    message = r'the loss is not finite: loss=nan\. There are pixels that are not finite in images/4\.png'
    with pytest.raises(FloatingPointError, match=message):
        launch.build_runner(classifier(tmp_path / 'run')).train()


def spoil_weight(runner):
    with torch.no_grad():
        dict(runner.model.named_parameters())[WEIGHT][0, 0] = torch.inf


def test_a_weight_that_was_loaded(tmp_path):
    with pytest.raises(FloatingPointError, match=rf'the weight {WEIGHT} is not finite at the beginning'):
        runner = launch.build_runner(classifier(tmp_path / 'run'))
        runner.model.init_weights()
        spoil_weight(runner)
        runner.train()


def test_a_weight_that_would_be_saved(tmp_path):
    """One that the loss of the epoch's last iteration does not show."""
    with pytest.raises(FloatingPointError, match=rf'the weight {WEIGHT} is not finite after iteration 6, so that no'):
        train(tmp_path / 'run', CallHook('after_train_iter', spoil_weight, 5))
    assert not list((tmp_path / 'run').glob('*.pth'))
