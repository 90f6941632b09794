"""The configs of Swin Transformer with varied-size windows: they train, and are Swin Transformers else."""

import pytest
import torch

from tests.test_configs.helpers import (
    build_model,
    check_detector_training,
    check_training,
    leaves,
    load,
    make_shallow,
    one_of_each,
)

DROP_PATHS = dict(tiny=0.2, small=0.3, base=0.5)


def shrink(cfg):
    """Make the model of a config small."""
    cfg.model.backbone.arch = dict(embed_dims=[16, 32, 64, 128], depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])
    cfg.model.head.in_channels = 128
    return cfg


@pytest.mark.parametrize('name', one_of_each(leaves('swin_vsa'), shrink))
def test_trains_saves_and_resumes(name, tmp_path):
    check_training(shrink(load(name)), 64, tmp_path)


@pytest.mark.parametrize('arch, drop_path_rate', DROP_PATHS.items())
def test_is_swin_but_for_its_attention(arch, drop_path_rate):
    from mmpretrain.models import SwinTransformer

    cfg = load(f'swin-vsa-{arch}_8xb128_in1k')
    assert cfg.model.backbone.drop_path_rate == drop_path_rate
    with torch.device('meta'):
        model = build_model(cfg).backbone
    swin = SwinTransformer(arch)
    attention = ('.attn.', '.position_encoding.')
    shapes, expected = (
        sorted(tuple(p.shape) for name, p in m.named_parameters() if not any(part in name for part in attention))
        for m in (model, swin)
    )
    assert shapes == expected
    blocks = [block for stage in model.stages for block in stage.blocks]
    assert blocks[-1].drop_path.drop_prob == pytest.approx(drop_path_rate)


@pytest.mark.parametrize('name', leaves('swin_vsa/detection'))
def test_detectors(name):
    cfg = load(name)
    assert cfg.train_cfg.max_epochs == (36 if '-3x' in name else 12)
    with torch.device('meta'):
        parameters = sum(p.numel() for p in build_model(cfg).parameters())
    assert round(parameters / 1e6) == (86 if 'cascade' in name else 48)  # as published


def test_detector_trains():
    cfg = load('mask-rcnn_swin-vsa-tiny_fpn_ms-crop-1x_coco')
    assert cfg.model.backbone.pop('init_cfg').checkpoint == 'checkpoints/swin-vsa-tiny_in1k.pth'
    make_shallow(cfg)
    check_detector_training(cfg)
