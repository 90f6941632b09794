"""The configs: they parse, build and say the published recipe."""

import math

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope

from tests.conftest import ROOT
from tools.analysis_tools.update_model_index import update
from vil_mm.conversion.vil import ATTENTION_NAMES, EMBED_NAMES, PERCEPTRON_NAMES
from vil_mm.models.backbones.vil_arch import ARCH_ZOO, resolve_arch

LEAVES = sorted((ROOT / 'configs/vil').glob('*.py'))


def build_model(cfg):
    from mmpretrain.registry import MODELS

    init_default_scope(cfg.default_scope)
    return MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_trains_saves_and_resumes(path, tmp_path):
    cfg = Config.fromfile(path)
    assert len(path.read_text().splitlines()) <= 30
    size = cfg.model.backbone.img_size = min(cfg.model.backbone.img_size, 64)
    arch = resolve_arch(cfg.model.backbone.arch)
    cfg.model.backbone.arch = dict(arch, depths=[min(depth, 2) for depth in arch['depths']])
    check_training(cfg, size, tmp_path)


def check_training(cfg, size, tmp_path):
    """Take two steps; the second again, from a checkpoint of the first."""
    torch.manual_seed(0)
    model = build_model(cfg)
    model.init_weights()
    assert model.head.fc.weight.std().item() == pytest.approx(0.02, rel=0.1)
    images = torch.randint(0, 255, (2, cfg.model.backbone.get('in_channels', 3), size, size)).float()
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples(cfg.model.head.num_classes)), training=True)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)

    def train_step(model, optimizer):
        torch.manual_seed(1)  # of dropped paths and drawn neighbours
        loss = model(**data, mode='loss')['loss']
        optimizer.zero_grad()
        optimizer.backward(loss)
        assert [name for name, p in model.named_parameters() if p.grad is None] == []
        optimizer.step()
        return loss.item()

    assert math.isfinite(train_step(model, optimizer))
    torch.save(dict(model=model.state_dict(), optimizer=optimizer.state_dict()), tmp_path / 'checkpoint.pth')
    expected = train_step(model, optimizer)

    checkpoint = torch.load(tmp_path / 'checkpoint.pth', weights_only=True)
    resumed = build_model(cfg)
    resumed.load_state_dict(checkpoint['model'])
    optimizer = build_optim_wrapper(resumed, cfg.optim_wrapper)
    optimizer.load_state_dict(checkpoint['optimizer'])
    assert train_step(resumed, optimizer) == pytest.approx(expected, rel=1e-6)
    trained, again = (torch.cat([p.detach().flatten() for p in m.parameters()]) for m in (model, resumed))
    torch.testing.assert_close(again, trained)


def samples(num_classes):
    from mmpretrain.structures import DataSample

    return [DataSample().set_gt_label(label) for label in (0, num_classes - 1)]


def test_there_is_a_config_for_every_arch_and_position():
    names = {path.stem for path in LEAVES}
    for arch in ARCH_ZOO:
        assert {f'vil-{arch}_8xb128_in1k', f'vil-{arch}-ape_8xb128_in1k'} <= names
        for suffix, absolute in (('', None), ('-ape', True)):
            backbone = Config.fromfile(ROOT / f'configs/vil/vil-{arch}{suffix}_8xb128_in1k.py').model.backbone
            assert backbone.arch == arch
            assert backbone.get('absolute_position') is absolute


def test_weight_decay_is_the_published_one():
    """By published name, a parameter that the rule names has no decay, and all others have."""
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-small_8xb128_in1k.py')
    cfg.model.backbone.update(absolute_position=True, relative_position_bias=True)
    model = build_model(cfg)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): group['weight_decay'] for group in optimizer.param_groups for p in group['params']}
    tables = EMBED_NAMES, ATTENTION_NAMES, PERCEPTRON_NAMES
    published = {value: key for table in tables for key, value in table.items()}
    undecayed = 'pos_embed', 'cls_token', 'norm.weight', 'norm.bias', 'norm_embed', 'head.bias', 'relative_position'
    checked = set()
    for name, parameter in model.named_parameters():
        own = name.removeprefix('backbone.').replace('head.fc.', 'head.')
        module = next((s for s in published if s in own), None)
        old_name = own if module is None else own.replace(module, published[module])
        expected = 0.0 if any(word in old_name for word in undecayed) else 0.1
        assert decays[id(parameter)] == expected, name
        checked.add(expected)
    assert checked == {0.0, 0.1}


def test_learning_rate_is_the_published_one():
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-small_8xb128_in1k.py')
    epoch_length, epochs, lr = 10, 300, cfg.optim_wrapper.optimizer.lr
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    schedulers = []
    for scheduler in cfg.param_scheduler:
        scheduler = scheduler.copy()
        scheduler.pop('convert_to_iter_based')
        cls = PARAM_SCHEDULERS.get(scheduler.pop('type'))
        schedulers.append(cls.build_iter_from_epoch(optimizer=optimizer, epoch_length=epoch_length, **scheduler))
    warmup, total = 5 * epoch_length, epochs * epoch_length
    for iteration in range(total):
        if iteration == 0:
            assert optimizer.param_groups[0]['lr'] == pytest.approx(0.002 * lr)
        if iteration >= warmup:
            cosine = 1e-6 + (lr - 1e-6) * (1 + math.cos(math.pi * iteration / total)) / 2
            assert optimizer.param_groups[0]['lr'] == pytest.approx(cosine, rel=1e-3)
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def test_learning_rate_of_medium_deep():
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-medium-deep-ape_8xb128_in1k.py')
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
    cfg = Config.fromfile(ROOT / f'configs/vil/vil-{name}_in1k-384px.py')
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
    for arch, ratio in (('tiny', 0.75), ('medium-deep', 0.75), ('swin-small', 0.875)):
        cfg = Config.fromfile(ROOT / f'configs/vil/vil-{arch}-random-shift_8xb128_in1k.py')
        assert cfg.custom_hooks == [dict(type='vil_mm.RandomShiftSwitchHook', switch_ratio=ratio)]
        assert cfg.model.backbone.attn_cfg.neighbors == 'random'
    for path in LEAVES:
        if 'performer' in path.stem:
            assert dict(type='vil_mm.PerformerRedrawHook') in Config.fromfile(path).custom_hooks


METAFILES = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']


@pytest.mark.parametrize('metafile', METAFILES)
def test_model_index_is_true(metafile):
    """Metafile and README say what the built models have, of every config."""
    for path, text in update((ROOT / metafile).parent).items():
        assert path.read_text() == text, f'{path} is out of date: run tools/analysis_tools/update_model_index.py'


def test_model_index_names_every_family():
    assert sorted(METAFILES) == sorted(
        f'configs/{p.parent.name}/metafile.yml' for p in ROOT.glob('configs/*/README.md')
    )
