"""DWNet's classification configs: they train, and say the published models and recipes."""

import math

import pytest

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

LEAVES = leaves('dwnet')
# Measured on the published code: parameters, and multiply-adds in billions. Those of the inhomogeneous models leave out
# the sums over the neighbors, there and here.
ROWS = {
    'dwnet-tiny_8xb128_in1k': (24_172_744, 3.727),
    'dynamic-dwnet-tiny_8xb128_in1k': (51_131_752, 3.754),
    'dwnet-base_16xb64_in1k': (74_347_112, 12.812),
    'dynamic-dwnet-base_16xb64_in1k': (161_597_928, 12.900),
    'idynamic-dwnet-tiny_8xb128_in1k': (26_244_280, 4.304),
    'idynamic-dwnet-base_16xb64_in1k': (80_253_608, 14.188),
}


def test_there_is_a_config_for_every_row():
    digits = {f'{name}-nano_1xb64_digits' for name in ('dwnet', 'dynamic-dwnet')}
    assert set(LEAVES) == {*ROWS, *digits}


def shrink(cfg):
    """Make the model of a config small."""
    cfg.model.backbone.arch = dict(embed_dims=[32, 32, 64, 128], depths=[1, 1, 2, 1])
    cfg.model.head.in_channels = 128
    return cfg


@pytest.mark.parametrize('name', one_of_each(LEAVES, shrink))
def test_trains_saves_and_resumes(name, tmp_path):
    check_training(shrink(load(name)), 64, tmp_path)


@pytest.mark.parametrize('name', ROWS)
def test_is_the_published_model(name):
    check_metadata(name, *ROWS[name])


@pytest.mark.parametrize('name', ROWS)
def test_recipe_is_the_published_one(name):
    cfg = load(name)
    gpus = int(name.split('_')[1].split('xb')[0])
    assert gpus * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999))
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0)
    assert cfg.model.backbone.drop_path_rate == (0.5 if 'base' in name else 0.2)

    epoch_length, lr = 10, 1e-3
    rates = list(learning_rates(cfg, epoch_length))
    assert len(rates) == 300 * epoch_length and rates[0] == pytest.approx(1e-6)
    for iteration in range(20 * epoch_length, len(rates)):
        cosine = 1e-5 + (lr - 1e-5) * (1 + math.cos(math.pi * iteration / len(rates))) / 2
        assert rates[iteration] == pytest.approx(cosine, rel=1e-3)


def test_weight_decay_is_the_published_one():
    """What has one dimension is not decayed, all else is."""
    cfg = load('dynamic-dwnet-tiny_8xb128_in1k')
    cfg.model.backbone.arch = dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1])
    cfg.model.head.in_channels = 32
    model = build_model(cfg)
    decays = weight_decays(model, cfg)
    for name, parameter in model.named_parameters():
        assert decays[name] == (0.0 if parameter.ndim == 1 else 0.05), name
