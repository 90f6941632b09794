"""The configs: they parse, build and say the published recipe."""

import math

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS, init_default_scope

from tests.conftest import ROOT
from tools.analysis_tools.update_model_index import update
from tools.model_converters.vil2mm import BLOCK_NAMES, EMBED_NAMES
from vil_mm.models.backbones.vil_arch import ARCH_ZOO, resolve_arch

LEAVES = sorted((ROOT / 'configs').glob('[!_]*/*.py'))


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
    published = {value: key for key, value in EMBED_NAMES.items()}
    published.update({value: key for (_, key), value in BLOCK_NAMES.items()})
    undecayed = 'pos_embed', 'cls_token', 'norm.weight', 'norm.bias', 'norm_embed', 'head.bias', 'relative_position'
    checked = set()
    for name, parameter in model.named_parameters():
        own = name.removeprefix('backbone.').replace('head.fc.', 'head.')
        suffix = next((s for s in published if own.endswith(s)), None)
        old_name = own if suffix is None else own.removesuffix(suffix) + published[suffix]
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


def test_model_index_is_true():
    """Metafile and README say what the built models have, of every config."""
    import yaml

    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    for metafile in index['Import']:
        for path, text in update((ROOT / metafile).parent).items():
            assert path.read_text() == text, f'{path} is out of date: run tools/analysis_tools/update_model_index.py'
