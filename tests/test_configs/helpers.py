"""What the tests of configs share: reading, shrinking, building and training what a config says."""

import copy
import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, init_default_scope
from torch import nn

from tests.conftest import ROOT
from vil_mm.models.backbones.vil_arch import parse_arch_string

CONFIGS = ROOT / 'configs'
BASES = CONFIGS / '_base_'
PATHS = {path.stem: path for path in sorted(CONFIGS.rglob('*.py')) if BASES not in path.parents}


def leaves(folder: str) -> list[str]:
    """Names of the configs in a folder of ``configs/``."""
    return [name for name, path in PATHS.items() if path.parent == CONFIGS / folder]


def load(name: str) -> Config:
    """Read a config by its name, and make its library the default scope."""
    cfg = copy.deepcopy(_read(PATHS[name]))
    init_default_scope(cfg.default_scope)
    return cfg


@cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


@cache
def metadata(family: str) -> dict[str, dict]:
    """What the metafile of a family says of each model; a test holds it against the built models."""
    models = yaml.safe_load((CONFIGS / family / 'metafile.yml').read_text())['Models']
    return {model['Name']: model['Metadata'] for model in models}


def check_metadata(name: str, parameters: int, gmacs: float | None, size: int = 224) -> None:
    """Hold a model's metadata against parameters and, where given, multiply-adds of the published code."""
    model = metadata(PATHS[name].parent.name)[name]
    assert (model['Parameters'], model['Image Size']) == (parameters, size)
    assert gmacs is None or model['FLOPs'] / 1e9 == pytest.approx(gmacs, abs=6e-4)


def arch_of(cfg: Config) -> dict[str, list]:
    """The settings that the ``arch`` of a backbone stands for."""
    backbone = cfg.model.backbone
    if ',' in backbone.arch:
        return parse_arch_string(backbone.arch)
    return MODELS.get(backbone.type).arch_zoo[backbone.arch]


def make_shallow(cfg: Config, depths: tuple[int, ...] = (1, 1, 1, 1)) -> None:
    """Take most blocks out of a backbone; its widths, which the neck or the heads name too, stay."""
    cfg.model.backbone.arch = dict(arch_of(cfg), depths=list(depths))


def one_of_each(names: list[str], shrink: Callable[[Config], Config]) -> list[str]:
    """Leave out configs that, with a small model, differ from an earlier one only in numbers that run the same code."""
    kinds = {}
    for name in names:
        cfg = shrink(copy.deepcopy(_read(PATHS[name])))
        numbers = r"'(num_classes|drop_path_rate|lr|weight_decay|label_smooth_val)': [^,)}]+"
        kinds.setdefault(re.sub(numbers, '', str((cfg.model.to_dict(), cfg.optim_wrapper.to_dict()))), name)
    return list(kinds.values())


def build_model(cfg: Config) -> nn.Module:
    init_default_scope(cfg.default_scope)
    model = dict(cfg.model)
    if 'data_preprocessor' in cfg:  # a classifier's is not part of the model
        model['data_preprocessor'] = cfg.data_preprocessor
    return MODELS.build(model)


def weight_decays(model: nn.Module, cfg: Config) -> dict[str, float]:
    """The weight decay of each parameter."""
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    decays = {id(parameter): group['weight_decay'] for group in groups for parameter in group['params']}
    return {name: decays[id(parameter)] for name, parameter in model.named_parameters()}


def learning_rates(cfg: Config, epoch_length: int) -> Iterator[float]:
    """The learning rate of each iteration, of which an epoch has as many as given."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.optim_wrapper.optimizer.lr)
    schedulers = [
        PARAM_SCHEDULERS.build(scheduler, default_args=dict(optimizer=optimizer, epoch_length=epoch_length))
        for scheduler in cfg.param_scheduler
    ]
    for _ in range(cfg.train_cfg.max_epochs * epoch_length):
        yield optimizer.param_groups[0]['lr']
        optimizer.step()
        for scheduler in schedulers:
            scheduler.step()


def check_training(cfg: Config, size: int, tmp_path: Path) -> None:
    """Take two steps; the second again, from a checkpoint of the first."""
    from mmpretrain.structures import DataSample

    torch.manual_seed(0)
    model = build_model(cfg)
    model.init_weights()
    assert model.head.fc.weight.std().item() == pytest.approx(0.02, rel=0.1)
    images = torch.randint(0, 255, (2, cfg.model.backbone.get('in_channels', 3), size, size)).float()
    samples = [DataSample().set_gt_label(label) for label in (0, cfg.model.head.num_classes - 1)]
    data = model.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)

    def train_step(model: nn.Module, optimizer: OptimWrapper) -> float:
        torch.manual_seed(1)  # of dropped paths and drawn neighbors
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


def check_detector_training(cfg: Config, batch_size: int = 1, shape: tuple[int, int] = (90, 122)) -> nn.Module:
    """Take a step on random images, with the config's optimizer; return the model."""
    from mmdet.testing import demo_mm_inputs

    if 'rpn_proposal' in cfg.model.train_cfg:  # few boxes train as well as many
        cfg.model.train_cfg.rpn_proposal.max_per_img = 16
        stages = cfg.model.train_cfg.rcnn
        for stage in stages if isinstance(stages, list) else [stages]:
            stage.sampler.num = 8
        heads = cfg.model.roi_head.bbox_head
        for head in heads if isinstance(heads, list) else [heads]:
            head.fc_out_channels = 32
    torch.manual_seed(0)
    model = revert_sync_batchnorm(build_model(cfg))
    model.init_weights()
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    masks = 'mask_head' in cfg.model.get('roi_head', {})
    data = demo_mm_inputs(batch_size, [[3, *shape]] * batch_size, num_classes=80, with_mask=masks, use_box_type=False)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(data, training=True), mode='loss'))
    assert loss.isfinite()
    optimizer.backward(loss)
    # neither head need find an object of its own in one random image
    without = [name for name, p in model.named_parameters() if p.grad is None and name.startswith(('backbone', 'neck'))]
    assert without == []
    optimizer.step()
    return model
