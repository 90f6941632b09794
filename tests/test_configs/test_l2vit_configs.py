"""L2ViT's classification configs: they train, and say the published models and recipes."""

import math

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.test_configs.helpers import (
    build_model,
    check_metadata,
    check_training,
    learning_rates,
    leaves,
    load,
    one_of_each,
    weight_decays,
)
from vil_mm.apis import count_macs

LEAVES = leaves('l2vit')
TINY, SMALL, BASE = (f'l2vit-{size}_32xb128_in1k' for size in ('tiny', 'small', 'base'))
PRE, FINE, FINE_384 = (
    f'l2vit-base{rest}' for rest in ('_8xb128_in21k', '-in21k-pre_16xb64_in1k', '-in21k-pre_16xb64_in1k-384px')
)
# Measured on the published code: parameters, multiply-adds in billions, pixels.
ROWS = {
    TINY: (28_596_781, 4.688, 224),
    SMALL: (50_199_157, 8.980, 224),
    BASE: (88_577_188, 15.808, 224),
    PRE: (109_939_213, None, 224),
    FINE: (88_577_188, 15.808, 224),
    FINE_384: (88_577_188, 47.322, 384),
}
SMALLER = dict(embed_dims=[32, 32, 64, 128], depths=[2] * 4, num_heads=[1, 1, 2, 4])


def shrink(cfg):
    """Make the model of a config small."""
    cfg.model.backbone.arch = SMALLER
    cfg.model.head.in_channels = SMALLER['embed_dims'][-1]
    return cfg


def test_there_is_a_config_for_every_row():
    assert set(LEAVES) == {*ROWS, 'l2vit-nano_1xb64_digits'}


@pytest.mark.parametrize('name', one_of_each(LEAVES, shrink))
def test_trains_saves_and_resumes(name, tmp_path):
    check_training(shrink(load(name)), 64, tmp_path)


@pytest.mark.parametrize('name', ROWS)
def test_is_the_published_model(name):
    check_metadata(name, *ROWS[name])


def test_windows():
    """At 384 pixels 12 fills all maps; 7 costs more, for the padding, which the publication projects and then crops."""
    cfg = load(FINE_384)
    assert cfg.model.backbone.window_size == 12
    cfg.model.backbone.window_size = 7
    with FakeTensorMode():
        model = build_model(cfg).eval()
        macs = count_macs(model, [torch.rand(1, 3, 384, 384)], mode='tensor')['']
    padding = [(98**2 - 96**2, 128, 1), (49**2 - 48**2, 256, 1), (28**2 - 24**2, 512, 9), (14**2 - 12**2, 1024, 1)]
    projections = sum(tokens * channels**2 * blocks for tokens, channels, blocks in padding)
    assert (macs + projections) / 1e9 == pytest.approx(48.792, abs=6e-4)


@pytest.mark.parametrize(
    'name, epochs, batch, lr, eta_min, warmup, start, decay, drop_path, average',
    [
        (TINY, 300, 4096, 4e-3, 1e-6, 20, 0, 0.05, 0.1, True),
        (SMALL, 300, 4096, 4e-3, 1e-6, 20, 0, 0.05, 0.2, True),
        (BASE, 300, 4096, 4e-3, 1e-6, 20, 0, 0.05, 0.3, True),
        (PRE, 90, 1024, 1e-3, 1e-5, 5, 1e-6, 0.05, 0.2, False),
        (FINE, 30, 1024, 4e-5, 4e-7, 5, 4e-8, 1e-8, 0.2, True),
        (FINE_384, 30, 1024, 4e-5, 4e-7, 5, 4e-8, 1e-8, 0.2, True),
    ],
)
def test_recipe_is_the_published_one(name, epochs, batch, lr, eta_min, warmup, start, decay, drop_path, average):
    cfg = load(name)
    gpus = int(name.split('_')[1].split('xb')[0])
    assert gpus * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=lr, weight_decay=decay, eps=1e-8, betas=(0.9, 0.999))
    assert cfg.train_cfg.max_epochs == epochs and 'clip_grad' not in cfg.optim_wrapper
    assert cfg.model.backbone.drop_path_rate == drop_path
    hooks = [dict(type='EMAHook', momentum=pytest.approx(1 - 0.9999), update_buffers=True)]
    assert cfg.custom_hooks == (hooks if average else [])

    epoch_length = 10
    warm, total = warmup * epoch_length, epochs * epoch_length
    for iteration, rate in enumerate(learning_rates(cfg, epoch_length)):
        if iteration < warm:
            expected = start + (lr - start) * iteration / (warm - 1)
        else:
            expected = eta_min + (lr - eta_min) * (1 + math.cos(math.pi * (iteration - warm) / (total - warm))) / 2
        assert rate == pytest.approx(expected, rel=2e-3, abs=1e-6 * lr)


def test_weight_decay_is_the_published_one():
    """What has one dimension has none; the temperatures have three."""
    cfg = shrink(load(TINY))
    model = build_model(cfg)
    decays = weight_decays(model, cfg)
    for name, parameter in model.named_parameters():
        assert decays[name] == (0.0 if parameter.ndim == 1 else 0.05), name
    assert any(name.endswith('temperature') for name in decays)


def test_images():
    """All augmentation stays on at 384 pixels, and test images are warped there."""
    small, large = (load(name).train_dataloader.dataset.pipeline for name in (FINE, FINE_384))
    assert [step.type for step in large] == [step.type for step in small]
    assert [step.type for step in large if step not in small] == ['RandomResizedCrop']
    assert large[1] == dict(small[1], scale=384)
    tests = [load(name).test_dataloader.dataset.pipeline for name in (FINE, FINE_384)]
    assert [step.get('scale') for step in tests[0]] == [None, int(224 / 0.875), None, None]
    assert [(step.type, step.get('scale')) for step in tests[1]] == [
        ('LoadImageFromFile', None),
        ('Resize', (384, 384)),
        ('PackInputs', None),
    ]


def test_fine_tuning_starts_from_the_larger_set():
    for name in (FINE, FINE_384):
        assert load(name).load_from == 'checkpoints/l2vit-base_in21k.pth'
