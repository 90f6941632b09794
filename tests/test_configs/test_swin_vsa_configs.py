"""The configs of Swin Transformer with varied-size windows: they train, and are Swin Transformers else."""

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT
from tests.test_configs.test_vil_configs import build_model, check_training

FOLDER = ROOT / 'configs/swin_vsa'
LEAVES = sorted(FOLDER.glob('*.py'))
DROP_PATHS = dict(tiny=0.2, small=0.3, base=0.5)


@pytest.mark.parametrize('path', LEAVES, ids=lambda path: path.stem)
def test_trains_saves_and_resumes(path, tmp_path):
    assert len(path.read_text().splitlines()) <= 30
    cfg = Config.fromfile(path)
    cfg.model.backbone.pop('arch')
    cfg.model.backbone.arch = dict(embed_dims=16, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])
    cfg.model.head.in_channels = 128
    check_training(cfg, 64, tmp_path)


@pytest.mark.parametrize('arch, drop_path_rate', DROP_PATHS.items())
def test_is_swin_but_for_its_attention(arch, drop_path_rate):
    from mmpretrain.models import SwinTransformer

    cfg = Config.fromfile(FOLDER / f'swin-vsa-{arch}_8xb128_in1k.py')
    assert cfg.model.backbone.drop_path_rate == drop_path_rate
    model, swin = build_model(cfg).backbone, SwinTransformer(arch)
    attention = ('.attn.', '.position_encoding.')
    shapes, expected = (
        {name: p.shape for name, p in m.named_parameters() if not any(part in name for part in attention)}
        for m in (model, swin)
    )
    assert shapes == expected
    blocks = [block for stage in model.stages for block in stage.blocks]
    assert blocks[-1].drop_path.drop_prob == pytest.approx(drop_path_rate)


def test_detector_trains():
    from mmdet.testing import demo_mm_inputs

    (path,) = FOLDER.glob('detection/*.py')
    assert len(path.read_text().splitlines()) <= 30
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.pop('init_cfg').checkpoint == 'checkpoints/swin-vsa-tiny_in1k.pth'
    init_default_scope(cfg.default_scope)
    cfg.model.backbone.pop('arch')
    cfg.model.backbone.arch = dict(embed_dims=96, depths=[1, 1, 1, 1], num_heads=[3, 6, 12, 24])
    model = MODELS.build(cfg.model)
    model.init_weights()
    data = demo_mm_inputs(1, [[3, 90, 122]], num_classes=80, with_mask=True, use_box_type=False)
    loss, _ = model.parse_losses(model(**model.data_preprocessor(data, training=True), mode='loss'))
    assert loss.isfinite()
    loss.backward()
    assert all(p.grad is not None for p in model.backbone.parameters())
