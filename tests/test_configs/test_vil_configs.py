"""The configs: they parse, build and say the published recipe."""

import math

import pytest
import torch

from tests.test_configs.helpers import (
    arch_of,
    build_model,
    check_training,
    learning_rates,
    leaves,
    load,
    one_of_each,
    weight_decays,
)
from vil_mm.conversion.vil import ATTENTION_NAMES, EMBED_NAMES, PERCEPTRON_NAMES
from vil_mm.models.backbones.vil_arch import ARCH_ZOO

LEAVES = leaves('vil')


def shrink(cfg):
    """Make the model and the image of a config small; the attentions stay."""
    backbone = cfg.model.backbone
    backbone.img_size = min(backbone.img_size, 64)
    arch = arch_of(cfg)
    heads = [1, 2, 2, 4][: len(arch['depths'])]
    depths = [min(depth, 2) for depth in arch['depths']]
    backbone.arch = dict(arch, num_heads=heads, embed_dims=[8 * number for number in heads], depths=depths)
    cfg.model.head.in_channels = 8 * heads[-1]
    return cfg


@pytest.mark.parametrize('name', one_of_each(LEAVES, shrink))
def test_trains_saves_and_resumes(name, tmp_path):
    cfg = shrink(load(name))
    check_training(cfg, cfg.model.backbone.img_size, tmp_path)


def test_there_is_a_config_for_every_arch_and_position():
    for arch in ARCH_ZOO.keys() - {'nano'}:
        for suffix, absolute in (('', None), ('-ape', True)):
            backbone = load(f'vil-{arch}{suffix}_8xb128_in1k').model.backbone
            assert backbone.arch == arch
            assert backbone.get('absolute_position') is absolute


def test_weight_decay_is_the_published_one():
    """By published name, a parameter that the rule names has no decay, and all others have."""
    cfg = load('vil-small_8xb128_in1k')
    cfg.model.backbone.update(absolute_position=True, relative_position_bias=True)
    with torch.device('meta'):
        decays = weight_decays(build_model(cfg), cfg)
    tables = EMBED_NAMES, ATTENTION_NAMES, PERCEPTRON_NAMES
    published = {value: key for table in tables for key, value in table.items()}
    undecayed = 'pos_embed', 'cls_token', 'norm.weight', 'norm.bias', 'norm_embed', 'head.bias', 'relative_position'
    checked = set()
    for name, decay in decays.items():
        own = name.removeprefix('backbone.').replace('head.fc.', 'head.')
        module = next((s for s in published if s in own), None)
        old_name = own if module is None else own.replace(module, published[module])
        expected = 0.0 if any(word in old_name for word in undecayed) else 0.1
        assert decay == expected, name
        checked.add(expected)
    assert checked == {0.0, 0.1}


def test_learning_rate_is_the_published_one():
    cfg = load('vil-small_8xb128_in1k')
    epoch_length, lr = 10, cfg.optim_wrapper.optimizer.lr
    rates = list(learning_rates(cfg, epoch_length))
    assert len(rates) == 300 * epoch_length and rates[0] == pytest.approx(0.002 * lr)
    for iteration in range(5 * epoch_length, len(rates)):
        cosine = 1e-6 + (lr - 1e-6) * (1 + math.cos(math.pi * iteration / len(rates))) / 2
        assert rates[iteration] == pytest.approx(cosine, rel=1e-3)


def test_learning_rate_of_medium_deep():
    cfg = load('vil-medium-deep-ape_8xb128_in1k')
    assert cfg.optim_wrapper.optimizer.lr == 8e-4
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.1


@pytest.mark.parametrize(
    'name, lr, decay, batch, windows',
    [
        ('medium-deep_8xb32', 0.01, 1e-7, 256, (8, 12)),
        ('medium-deep-ape_8xb32', 0.01, 0, 256, (8, 12)),
        ('medium-wide-ape_8xb64', 0.04, 0, 512, (8, 12)),
        ('base-deep_8xb40', 0.015, 0, 320, (6, 8)),
        ('base-deep-ape_8xb80', 0.03, 0, 640, (6, 8)),
        ('base-wide-ape_8xb96', 0.01, 1e-7, 768, (8, 8)),
    ],
)
def test_fine_tuning_is_the_published_one(name, lr, decay, batch, windows):
    """Learning rates are those of QHM with nu 1, of which SGD takes ``1 - momentum``."""
    cfg = load(f'vil-{name}_in1k-384px')
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == dict(type='SGD', lr=pytest.approx(lr * 0.1), momentum=0.9, weight_decay=decay)
    assert 8 * cfg.train_dataloader.batch_size == batch == cfg.auto_scale_lr.base_batch_size
    warmup, cosine = cfg.param_scheduler
    assert (warmup.start_factor, warmup.end) == (0.002, 0.25)
    assert (cosine.eta_min, cosine.T_max, cfg.train_cfg.max_epochs) == (pytest.approx(1e-6 * 0.1), 10, 10)
    assert [cfg.model.backbone.attn_cfg[i].window_size for i in (0, 1)] == list(windows)
    assert cfg.model.train_cfg is None and cfg.model.head.loss.label_smooth_val == 0.1
    steps = [step['type'] for step in cfg.train_dataloader.dataset.pipeline]
    assert steps == ['LoadImageFromFile', 'ResizeEdge', 'RandomCrop', 'RandomFlip', 'PackInputs']
    assert (
        cfg.train_dataloader.dataset.pipeline[1].scale
        == int(384 / 0.922)
        == cfg.test_dataloader.dataset.pipeline[1].scale
    )


def test_qhm_with_nu_1_is_sgd():
    torch.manual_seed(0)
    start, gradients = torch.randn(5, dtype=torch.float64), torch.randn(20, 5, dtype=torch.float64)
    parameter, momentum = start.clone(), torch.zeros(5, dtype=torch.float64)
    other = torch.nn.Parameter(start.clone())
    sgd = torch.optim.SGD([other], lr=0.01 * (1 - 0.9), momentum=0.9)
    for gradient in gradients:
        momentum = 0.9 * momentum + (1 - 0.9) * gradient
        parameter -= 0.01 * momentum
        other.grad = gradient.clone()
        sgd.step()
    torch.testing.assert_close(other.detach(), parameter)


def test_hooks_of_random_shift_and_performer():
    for arch, ratio in (('tiny', 0.75), ('tiny-1281', 0.875), ('medium-deep', 0.75), ('swin-small', 0.875)):
        cfg = load(f'vil-{arch}-random-shift_8xb128_in1k')
        assert cfg.custom_hooks == [dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=ratio)]
        assert cfg.model.backbone.attn_cfg.neighbors == 'random'
    for name in LEAVES:
        if 'performer' in name:
            assert dict(type='vil_mm.PerformerRedrawHook') in load(name).custom_hooks
