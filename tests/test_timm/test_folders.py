"""Folders of a model: what is read is bitwise what was written, and other folders are refused."""

import importlib.util
import json

import pytest
import timm
import torch
from mmengine.logging import MMLogger

from tests.test_timm.test_contract import SHORT, create, images, randomize, slowly
from vil_mm.models import ViL
from vil_mm.models.layers import CheckpointError
from vil_mm.timm import ARCHITECTURES, Classifier, from_pretrained, save_pretrained


@pytest.mark.parametrize('name', slowly(ARCHITECTURES, SHORT))
def test_round_trip(name, tmp_path):
    model = randomize(create(name, num_classes=7, in_chans=2)).train()
    model(images(2))  # changes the statistics of batch norms
    save_pretrained(model, tmp_path / 'new' / 'folder')
    read = from_pretrained(tmp_path / 'new' / 'folder')
    before, after = model.state_dict(), read.state_dict()
    assert list(before) == list(after)
    assert [
        key for key in before if before[key].dtype != after[key].dtype or not torch.equal(before[key], after[key])
    ] == []
    x = images(2)
    assert torch.equal(read.eval()(x), model.eval()(x))
    save_pretrained(read, tmp_path / 'again')
    assert (tmp_path / 'again/config.json').read_text() == (tmp_path / 'new/folder/config.json').read_text()


def test_settings_and_changes(tmp_path):
    attn_cfg = [None, None, dict(type='vil_mm.FullAttention'), None]
    model = timm.create_model('vil_nano', img_size=(32, 64), attn_cfg=attn_cfg)
    model.reset_classifier(3, 'max')
    save_pretrained(randomize(model).eval(), tmp_path)
    assert json.loads((tmp_path / 'config.json').read_text())['model_args']['attn_cfg'] == attn_cfg
    x, read = torch.randn(1, 3, 32, 64), from_pretrained(str(tmp_path)).eval()
    assert torch.equal(read(x), model(x)) and read(x).shape == (1, 3)
    maps = from_pretrained(tmp_path, features_only=True, out_indices=(0, 2)).eval()(x)
    for found, expected in zip(maps, model.forward_intermediates(x, [0, 2])[1], strict=True):
        assert torch.equal(found, expected)
    assert from_pretrained(tmp_path, num_classes=5, in_chans=1)(x[:, :1]).shape == (1, 5)


def test_weights_serve_openmmlab(tmp_path):
    model = randomize(create('vil_nano', size=32))
    save_pretrained(model, tmp_path)
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'model.safetensors'), prefix='backbone.')
    backbone = ViL('nano', img_size=32, in_channels=4, out_indices=(3,), init_cfg=init_cfg)
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MMLogger.get_current_instance(), 'log', lambda level, line: lines.append(line))
        patch.setattr('vil_mm.models.base.base_backbone.print_log', lambda line, **kwargs: lines.append(line))
        backbone.init_weights()
    assert sum('images of 3 channels, the model for 4' in line for line in lines) == 1
    x = torch.randn(1, 3, 32, 32)
    four = torch.cat([x, x[:, :1]], 1) * torch.tensor([2, 4, 4, 2])[:, None, None] / 3
    torch.testing.assert_close(backbone.eval()(four)[0], model.eval().forward_features(x), rtol=1e-4, atol=1e-4)


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"source='.+/none' is neither a folder nor the name of a repository"):
        from_pretrained(tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match=r"source='.+' holds no model\.safetensors and no config\.json"):
        from_pretrained(tmp_path)
    with pytest.raises(TypeError, match='source=5 must be'):
        from_pretrained(5)
    save_pretrained(create('dwnet_nano'), tmp_path)
    file = tmp_path / 'model.safetensors'
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match='is damaged: the SHA-256 of its tensors'):
        from_pretrained(tmp_path)


def test_dtype(tmp_path):
    model = timm.create_model('dwnet_nano', dtype=torch.bfloat16)
    save_pretrained(model, tmp_path)
    for dtype in (None, torch.bfloat16):
        read = from_pretrained(tmp_path, dtype=dtype)
        expected = model.head.fc.weight.to(dtype or torch.float32)
        assert read.head.fc.weight.dtype == expected.dtype and torch.equal(read.head.fc.weight, expected)


def test_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    save_pretrained(create('dwnet_nano'), '~/mine')
    assert (tmp_path / 'mine/model.safetensors').is_file() and from_pretrained('~/mine')


def test_models_that_cannot_be_written(tmp_path):
    """What the folder holds stays as it is."""
    save_pretrained(create('dwnet_nano'), tmp_path)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    pruned = create('dwnet_nano')
    pruned.prune_intermediate_layers([1])
    for model, message in (
        (
            create('dwnet_nano', num_classes=7, norm_cfg=dict(type=torch.nn.BatchNorm2d)),
            "'norm_cfg' is not serializable",
        ),
        (pruned, 'model has 2 of its 4 stages'),
        (Classifier(ViL, arch='nano', img_size=32), r'model was not built by timm\.create_model'),
    ):
        with pytest.raises(ValueError, match=message):
            save_pretrained(model, tmp_path)
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_damaged_configs(tmp_path):
    save_pretrained(create('dwnet_nano'), tmp_path)
    for text, message in (
        ('{', r'config\.json must hold JSON with the entry "architecture": JSONDecodeError'),
        ('[]', r'config\.json must hold JSON with the entry "architecture"'),
        ('{"architecture": "nothing"}', r"config\.json has architecture='nothing', must be a model that timm"),
    ):
        (tmp_path / 'config.json').write_text(text)
        with pytest.raises(ValueError, match=message):
            from_pretrained(tmp_path)


@pytest.mark.parametrize('installed', [False, True])
def test_repositories(installed, monkeypatch):
    monkeypatch.setattr('vil_mm.timm.folders.find_spec', lambda name: importlib.util if installed else None)
    monkeypatch.setattr(timm, 'create_model', lambda name, **kwargs: (name, kwargs))
    if installed:
        expected = 'hf-hub:someone/vil_small', dict(pretrained=True, num_classes=3)
        assert from_pretrained('someone/vil_small', num_classes=3) == expected
    else:
        with pytest.raises(ImportError, match=r"source='a/b' is no folder\. .*: pip install huggingface_hub"):
            from_pretrained('a/b')
