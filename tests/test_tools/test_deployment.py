"""Exported files: they compute what the model computes, or are deleted; infer.py runs them without PyTorch."""

import importlib.util
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, TRANSFORMS, init_default_scope
from PIL import Image

from tests.conftest import ROOT, run_tool

EXPORT, INFER = 'tools/deployment/export.py', 'tools/deployment/infer.py'
DIGITS = 'configs/vil/vil-nano_1xb64_digits.py'


def needs(*packages):
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f'needs {", ".join(missing)}, of the extra [deploy]')


ONNX = needs('onnx', 'onnxscript', 'onnxruntime')
OPENVINO = needs('onnx', 'onnxscript', 'openvino')


@pytest.fixture(scope='module')
def deployment():
    """The modules of the tools."""
    folder = str(ROOT / 'tools/deployment')
    sys.path.insert(0, folder)
    try:
        import export
        import exported_models
        import formats
        import infer
    finally:
        sys.path.remove(folder)
    return SimpleNamespace(export=export, models=exported_models, formats=formats, infer=infer)


@pytest.fixture
def run_export(deployment, monkeypatch):
    """Run the command in this process."""

    def run(*words):
        monkeypatch.setattr('sys.argv', [EXPORT, *map(str, words)])
        deployment.export.main()

    return run


def write_checkpoint(config, path, options=()):
    """Write random weights that matter, in the form of a trained checkpoint."""
    cfg = Config.fromfile(ROOT / config)
    cfg.merge_from_dict(dict(options))
    init_default_scope(cfg.default_scope)
    model = MODELS.build(cfg.model)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2 if parameter.ndim > 1 else 0.1)
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta=dict(classes=list('abcdefghij')))), path)
    return cfg, model.eval()


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'digits.pth'
    return path, *write_checkpoint(DIGITS, path)


def test_pooling(deployment):
    x = torch.randn(2, 3, 13, 7)
    for sizes in ((1, 1), (2, 2), (6, 6), (3, 5)):
        expected = torch.nn.AdaptiveAvgPool2d(sizes)(x)
        torch.testing.assert_close(deployment.models.AveragePool(sizes)(x), expected)


def test_a_file_that_differs_is_deleted(checkpoint, run_export, tmp_path, deployment, monkeypatch, capsys):
    def write(program, path, description):
        path.write_text('wrong')

    def opened(path):
        assert path.is_file()
        return lambda images: [torch.zeros(len(images), 10)]

    monkeypatch.setitem(deployment.formats.FORMATS, 'pt2', ('.pt2', write, opened))
    monkeypatch.setattr(deployment.export, 'export', lambda *args: None)
    file = tmp_path / 'digits.pt2'
    with pytest.raises(ValueError, match=r'logits of images \(1, 3, 32, 32\) differs by .*must be at most 0\.0001'):
        run_export(DIGITS, checkpoint[0], '--format', 'pt2', '--out', file)
    assert not file.exists() and 'was deleted' in capsys.readouterr().out


@pytest.mark.parametrize(
    'words, message',
    [
        (['--shape', '1', '2', '3'], r'--shape \[1, 2, 3\] must be one size, or height and width'),
        (['--format', 'pt2', '--out', 'a.onnx'], r'--out a\.onnx must end in \.pt2'),
    ],
)
def test_errors(words, message, run_export, capsys):
    with pytest.raises(SystemExit):
        run_export(DIGITS, 'digits.pth', *(['--format', 'pt2'] if '--format' not in words else []), *words)
    assert re.search(message, capsys.readouterr().err)


def test_steps_of_pipelines(deployment):
    """As mmpretrain's, on Pillow."""
    init_default_scope('mmpretrain')
    image = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for size in ((37, 53), (53, 37)):
        resized = np.resize(image, (*size, 3))
        for step in (
            dict(type='ResizeEdge', scale=24, edge='short', backend='pillow', interpolation='bicubic'),
            dict(type='ResizeEdge', scale=24, edge='long', backend='pillow', interpolation='bilinear'),
            dict(type='CenterCrop', crop_size=24),
            dict(type='CenterCrop', crop_size=(20, 31)),
        ):
            expected = TRANSFORMS.build(step)(dict(img=resized, img_shape=size))['img']
            ours = deployment.infer.STEPS[step['type']](Image.fromarray(resized), step)
            assert np.array_equal(np.asarray(ours), expected), step


@ONNX
@pytest.mark.parametrize('raw', [False, True])
def test_onnx_without_pytorch(raw, checkpoint, run_export, digits, tmp_path, capsys):
    path, _, model = checkpoint
    file, out = tmp_path / 'digits.onnx', tmp_path / 'results.json'
    run_export(DIGITS, path, '--out', file, '--dynamic', 'batch', *(['--raw'] if raw else []))
    assert 'any number of images' in capsys.readouterr().out
    hidden = "import runpy, sys; sys.modules.update(dict.fromkeys(['torch', 'mmengine', 'mmcv', 'vil_mm']));"
    words = [INFER, str(file), str(digits / 'val'), '--batch-size', '100', '--out', str(out)]
    code = f'{hidden} sys.argv = {words!r}; runpy.run_path({INFER!r}, run_name="__main__")'
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    results = json.loads(out.read_text())
    assert len(results) == 360 and {result['name'] for result in results} <= set('abcdefghij')
    pixels = np.stack([np.asarray(Image.open(result['path']).convert('RGB')) for result in results])
    with torch.no_grad():
        images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - 127.5) / 127.5
        scores = model(images, mode='tensor').softmax(-1)
    assert [result['label'] for result in results] == scores.argmax(-1).tolist()
    torch.testing.assert_close(
        torch.tensor([result['score'] for result in results]), scores.amax(-1), rtol=1e-4, atol=1e-5
    )


FAMILIES = [
    DIGITS,
    'configs/l2vit/l2vit-nano_1xb64_digits.py',
    'configs/swin_vsa/swin-vsa-nano_1xb64_digits.py',
    'configs/vitae_v2/vitae-v2-vsa-nano_1xb64_digits.py',
    'configs/dwnet/dwnet-nano_1xb64_digits.py',
]
FORMATS = [pytest.param('onnx', marks=ONNX), 'pt2', pytest.param('openvino', marks=OPENVINO)]


@pytest.mark.slow
@pytest.mark.parametrize('format', FORMATS)
@pytest.mark.parametrize('config', FAMILIES)
def test_families(config, format, run_export, tmp_path, capsys):
    path = tmp_path / 'model.pth'
    write_checkpoint(config, path)
    run_export(config, path, '--format', format)
    assert 'with 9 batches' in capsys.readouterr().out


def test_help_without_other_libraries():
    run_tool(INFER, '--help')
