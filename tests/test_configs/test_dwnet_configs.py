"""DWNet's classification configs: they train, and say the published models and recipes."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.conftest import ROOT
from tests.test_configs.test_vil_configs import build_model, check_training
from vil_mm.apis import count_macs

FOLDER = ROOT / 'configs/dwnet'
LEAVES = sorted(FOLDER.glob('*.py'))
# Measured on the published code: parameters, and multiply-adds in billions. Those of the inhomogeneous models leave out
# the sums over the neighbours, there and here.
ROWS = {
    'dwnet-tiny_8xb128_in1k': (24_172_744, 3.727),
    'dynamic-dwnet-tiny_8xb128_in1k': (51_131_752, 3.754),
    'dwnet-base_16xb64_in1k': (74_347_112, 12.812),
    'dynamic-dwnet-base_16xb64_in1k': (161_597_928, 12.900),
    'idynamic-dwnet-tiny_8xb128_in1k': (26_244_280, 4.304),
    'idynamic-dwnet-base_16xb64_in1k': (80_253_608, 14.188),
}


def load(name):
    return Config.fromfile(FOLDER / f'{name}.py')


def test_there_is_a_config_for_every_row():
    digits = {f'{name}-nano_1xb64_digits' for name in ('dwnet', 'dynamic-dwnet')}
    assert {path.stem for path in LEAVES} == {*ROWS, *digits}


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_trains_saves_and_resumes(path, tmp_path):
    assert len(path.read_text().splitlines()) <= 30
    cfg = Config.fromfile(path)
    cfg.model.backbone.pop('arch')
    cfg.model.backbone.arch = dict(embed_dims=[32, 32, 64, 128], depths=[1, 1, 2, 1])
    cfg.model.head.in_channels = 128
    check_training(cfg, 64, tmp_path)


@pytest.mark.parametrize('name', ROWS)
def test_is_the_published_model(name):
    parameters, gmacs = ROWS[name]
    with FakeTensorMode():
        model = build_model(load(name)).eval()
        assert sum(p.numel() for p in model.parameters()) == parameters
        macs = count_macs(model, [torch.rand(1, 3, 224, 224)], mode='tensor')[''] / 1e9
    assert macs == pytest.approx(gmacs, abs=6e-4)


@pytest.mark.parametrize('name', ROWS)
def test_recipe_is_the_published_one(name):
    cfg = load(name)
    gpus = int(name.split('_')[1].split('xb')[0])
    assert gpus * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 1024
    assert cfg.optim_wrapper.optimizer == dict(type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-8, betas=(0.9, 0.999))
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0)
    assert cfg.model.backbone.drop_path_rate == (0.5 if 'base' in name else 0.2)

    epoch_length, epochs, lr = 10, 300, 1e-3
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedulers = []
    for scheduler in cfg.param_scheduler:
        scheduler = scheduler.copy()
        scheduler.pop('convert_to_iter_based')
        cls = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        schedulers.append(cls.build_iter_from_epoch(optimizer=optimizer, epoch_length=epoch_length, **scheduler))
    warmup, total = 20 * epoch_length, epochs * epoch_length
    for iteration in range(total):
        if iteration == 0:
            assert optimizer.param_groups[0]['lr'] == pytest.approx(1e-6)
        if iteration >= warmup:
            cosine = 1e-5 + (lr - 1e-5) * (1 + math.cos(math.pi * iteration / total)) / 2
            assert optimizer.param_groups[0]['lr'] == pytest.approx(cosine, rel=1e-3)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def test_weight_decay_is_the_published_one():
    """What has one dimension is not decayed, all else is."""
    cfg = load('dynamic-dwnet-tiny_8xb128_in1k')
    cfg.model.backbone.arch = dict(embed_dims=[8, 16, 16, 32], depths=[1, 1, 1, 1])
    cfg.model.head.in_channels = 32
    model = build_model(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.0 if parameter.ndim == 1 else 0.05), name
