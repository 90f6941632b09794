"""Exported files: they compute what the model computes, or are not kept; infer.py runs them without PyTorch."""

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

from tests.conftest import ROOT, epochs, options, run_tool
from vil_mm.models.attentions import VariedSizeWindowAttention, WindowAttention
from vil_mm.ops import sliding_window_attention, to_tokens

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


def run_infer(*words):
    """Run infer.py in an interpreter that has neither PyTorch nor OpenMMLab."""
    hidden = ['torch', 'torchvision', 'mmengine', 'mmcv', 'mmpretrain', 'vil_mm']
    code = (
        f'import runpy, sys; sys.modules.update(dict.fromkeys({hidden})); '
        f'sys.argv = {[INFER, *map(str, words)]}; runpy.run_path({INFER!r}, run_name="__main__")'
    )
    return subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp('checkpoint') / 'digits.pth'
    return path, *write_checkpoint(DIGITS, path)


def test_pooling(deployment):
    x = torch.randn(2, 3, 13, 7)
    for sizes in ((1, 1), (2, 2), (6, 6), (3, 5)):
        expected = torch.nn.AdaptiveAvgPool2d(sizes)(x)
        torch.testing.assert_close(deployment.models.AveragePool(sizes)(x), expected)


@pytest.mark.parametrize('earlier', [False, True])
def test_a_file_that_differs_is_not_kept(earlier, checkpoint, run_export, tmp_path, deployment, monkeypatch):
    """A file that was there before stays."""

    def write(program, path, description):
        path.write_text('wrong')

    def opened(path):
        assert path.is_file()
        return lambda images: [torch.zeros(len(images), 10)]

    monkeypatch.setitem(deployment.formats.FORMATS, 'pt2', deployment.formats.Format('.pt2', write, opened))
    monkeypatch.setattr(deployment.export, 'export', lambda *args: None)
    file = tmp_path / 'digits.pt2'
    if earlier:
        file.write_text('right')
    with pytest.raises(SystemExit, match=r'logits of images \(1, 3, 32, 32\) differs by .*must be at most 0\.0001'):
        run_export(DIGITS, checkpoint[0], '--format', 'pt2', '--out', file)
    assert [path.read_text() for path in tmp_path.iterdir()] == ['right'] * earlier


def test_program_for_one_shape(checkpoint, run_export, tmp_path, capsys, deployment):
    path, _, model = checkpoint
    run_export(DIGITS, path, '--format', 'pt2', '--dynamic', 'none', '--out', tmp_path / 'digits.pt2')
    assert 'for one shape; with 1 batches of images' in capsys.readouterr().out
    description = {'vil_mm.json': ''}
    program = torch.export.load(tmp_path / 'digits.pt2', extra_files=description).module()
    described = json.loads(description['vil_mm.json'])
    assert described['classes'] == list('abcdefghij') and described['size'] == [32, 32]
    assert described['outputs'] == ['logits'] and described['dynamic'] == 'none' and described['pipeline']
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(program(images)['logits'], model(images, mode='tensor'))


def test_classes_of_the_test_set(deployment):
    """If the checkpoint names none."""
    for dataset, classes in (
        (dict(type='CIFAR10', metainfo=dict(classes=('a', 'b'))), ['a', 'b']),
        (dict(type='vil_mm.OtherDataset'), None),
    ):
        cfg = Config(dict(default_scope='mmpretrain', test_dataloader=dict(dataset=dataset)))
        assert deployment.export.find_classes(cfg, dict(meta={})) == classes
    cfg = Config(dict(default_scope='mmpretrain', test_dataloader=dict(dataset=dict(type='CIFAR10'))))
    assert deployment.export.find_classes(cfg, {})[:2] == ['airplane', 'automobile']


def test_errors(run_export, monkeypatch, capsys):
    for words, message in (
        (['--format', 'pt2', '--shape', '1', '2', '3'], r'--shape \[1, 2, 3\] must be one size, or height and width'),
        (['--format', 'pt2', '--out', 'a.onnx'], r'--out a\.onnx must end in \.pt2'),
        (
            ['--format', 'openvino'],
            r"needs onnx, onnxscript, openvino: pip install 'vil_mm\[deploy\]'",
        ),
    ):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr('importlib.util.find_spec', lambda name: None)
            run_export(DIGITS, 'digits.pth', *words)
        assert re.search(message, capsys.readouterr().err)


def test_other_models(deployment):
    cfg = Config(dict(default_scope='mmpretrain', model=dict(type='MAE')))
    with pytest.raises(ValueError, match=r'model\.type=MAE cannot be exported: it must be a classifier of mmpretrain'):
        deployment.models.wrap(torch.nn.Module(), cfg, raw=False)
    cfg.default_scope = 'mmaction'
    with pytest.raises(ValueError, match=r"default_scope='mmaction' of the config must be one of \['mmpretrain', 'mm"):
        deployment.export.export_file(cfg, SimpleNamespace(shape=[32]))


def test_heads_of_detectors(deployment):
    """Features come first; heads that compute more than scores and boxes are refused."""

    class Head(torch.nn.Module):
        def __init__(self, kinds):
            super().__init__()
            self.kinds = kinds

        def forward(self, features):
            return [[x + kind for x in features] for kind in range(1, self.kinds + 1)]

    class Detector(torch.nn.Module):
        def __init__(self, name, kinds):
            super().__init__()
            self.backbone, self.roi_head = torch.nn.Identity(), torch.nn.Identity()
            setattr(self, name, Head(kinds))

        def extract_feat(self, images):
            return [images, images[..., ::2]]

    cfg, images = Config(dict(default_scope='mmdet', model=dict(type='Any'))), torch.randn(1, 3, 4, 4)
    outputs = deployment.models.wrap(Detector('rpn_head', 2), cfg, raw=False)(images)
    assert list(outputs) == [f'{name}_{level}' for name in ('features', 'scores', 'boxes') for level in range(2)]
    assert torch.equal(outputs['boxes_1'], images[..., ::2] + 2)
    outputs = deployment.models.wrap(Detector('bbox_head', 2), cfg, raw=False)(images)
    assert list(outputs) == ['scores_0', 'scores_1', 'boxes_0', 'boxes_1']
    with pytest.raises(ValueError, match='Head computes 3 kinds of maps, must compute scores and boxes only'):
        deployment.models.wrap(Detector('bbox_head', 3), cfg, raw=False)(images)


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


def test_images_are_read_as_openmmlab_reads_them(deployment, tmp_path):
    init_default_scope('mmpretrain')
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 4), dtype=np.uint8)
    turned = Image.Exif()
    turned[274] = 6  # the orientation: a quarter turn
    Image.fromarray(pixels[..., :3]).save(tmp_path / 'turned.png', exif=turned)
    Image.fromarray(pixels).save(tmp_path / 'alpha.png')
    Image.fromarray(pixels[..., 0]).save(tmp_path / 'gray.png')
    description = dict(dynamic='size', channels='BGR', mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], raw=False)
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    for path in tmp_path.iterdir():
        expected = load(dict(img_path=path))['img']
        raw = deployment.infer.read_image(path, dict(description, raw=True), resize=False)
        assert np.array_equal(raw[..., ::-1], expected), path
        ours = deployment.infer.read_image(path, description, resize=False)
        normalized = (expected - np.array([1.0, 2.0, 3.0])) / np.array([4.0, 5.0, 6.0])
        np.testing.assert_allclose(ours, normalized.transpose(2, 0, 1), rtol=1e-5)
    with pytest.raises(ValueError, match=r'gray\.png has 6x9 pixels, must have 32x32'):
        deployment.infer.read_image(
            tmp_path / 'gray.png', dict(description, dynamic='batch', size=[32, 32]), resize=False
        )
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 200).save(tmp_path / 'deep.png')
    with pytest.raises(ValueError, match=r'deep\.png has the mode I;16, must have 8 bits per channel'):
        deployment.infer.read_image(tmp_path / 'deep.png', description, resize=False)
    for step, message in (
        (dict(type='Lighting'), 'the pipeline has the step Lighting'),
        (dict(type='ResizeEdge', scale=24), "ResizeEdge has backend='cv2', must be 'pillow'"),
        (dict(type='CenterCrop', crop_size=48, auto_pad=True), 'CenterCrop has auto_pad=True, must be False'),
        (dict(type='LoadImageFromFile', color_type='grayscale'), "has color_type='grayscale', must be 'color'"),
    ):
        with pytest.raises(ValueError, match=message):
            deployment.infer.read_image(tmp_path / 'gray.png', dict(description, pipeline=[step]), resize=True)


def test_broken_images_are_named(deployment, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'broken\.png cannot be read: cannot identify image file'):
        deployment.infer.read_image(tmp_path / 'broken.png', {}, resize=False)


def test_images_of_different_sizes(deployment, tmp_path):
    """They are classified one by one, in their order."""
    for name, value, size in (('a', 2, (4, 5)), ('b', 0, (4, 5)), ('c', 1, (6, 3)), ('d', 2, (6, 3)), ('e', 0, (4, 4))):
        Image.fromarray(np.full((*size, 3), value, dtype=np.uint8)).save(tmp_path / f'{name}.png')
    batches = []

    def run(images):
        batches.append(images.shape)
        return np.eye(3)[images[:, 0, 0, 0].astype(int)]

    description = dict(dynamic='size', raw=True, classes=['x', 'y', 'z'], pipeline=[])
    results = deployment.infer.classify(run, description, sorted(tmp_path.iterdir()), 2, resize=True)
    assert [result['name'] for result in results] == ['z', 'x', 'y', 'z', 'x']
    assert batches == [(2, 4, 5, 3), (2, 6, 3, 3), (1, 4, 4, 3)]
    batches.clear()
    results = deployment.infer.classify(run, description, sorted(tmp_path.iterdir()), 3, resize=True)
    assert [result['label'] for result in results] == [2, 0, 1, 2, 0] and {shape[0] for shape in batches} == {1}


def test_arguments_of_infer(tmp_path):
    for words, message in (
        (['a.onnx', tmp_path], f'{tmp_path} holds no images'),
        (['a.onnx', tmp_path, '--batch-size', 0], '--batch-size 0 must be at least 1'),
        (['a.txt', tmp_path], r'a.txt must be an .onnx or .xml file'),
    ):
        result = run_infer(*words)
        assert result.returncode == 2 and message in result.stderr


@ONNX
@pytest.mark.parametrize('attention', [WindowAttention, VariedSizeWindowAttention])
def test_windows_in_onnx(attention, deployment, tmp_path):
    """For grids of all sizes, which windows fill or not."""

    class OnMap(torch.nn.Module):
        raw = False

        def __init__(self):
            super().__init__()
            self.attn = attention(8, 2, grid_size=(13, 7), window_size=3)
            for parameter in self.parameters():
                torch.nn.init.normal_(parameter, std=0.5)

        def forward(self, x):
            return dict(y=self.attn(to_tokens(x), tuple(x.shape[2:])))

    model, path = OnMap().eval(), tmp_path / 'attention.onnx'
    with torch.no_grad():
        program = deployment.export.export(model, torch.randn(2, 8, 13, 7), 'size')
        deployment.formats.write_onnx(program, path, dict(outputs=['y']))
        batches = [torch.randn(n, 8, *size) for n, *size in ((1, 9, 9), (2, 10, 11), (3, 2, 5), (1, 1, 8))]
        deployment.export.compare(model, deployment.formats.open_onnx(path), batches, tolerance=1e-5)


@ONNX
@OPENVINO
@pytest.mark.slow
def test_trained_digits_without_pytorch(digits, run_export, tmp_path, capsys):
    """The accuracy of files is that of the training's last validation; int8 may mistake one image more in a hundred."""
    run_tool('tools/train.py', DIGITS, '--work-dir', tmp_path, *options(digits, 64, **epochs(5)))
    scalars = next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()
    accuracy = [line['accuracy/top1'] for line in map(json.loads, scalars) if 'accuracy/top1' in line][-1]
    assert accuracy > 90
    scores = {}
    for words, file in (
        (['onnx'], 'digits.onnx'),
        (['onnx', '--raw'], 'raw.onnx'),
        (['openvino'], 'digits.xml'),
        (['onnx-int8'], 'digits.int8.onnx'),
    ):
        file = tmp_path / file
        run_export(DIGITS, tmp_path / 'epoch_5.pth', '--out', file, '--format', *words)
        printed = capsys.readouterr().out
        assert 'have a fixed size, 32x32' in printed and 'any number of images; with 3 batches' in printed
        result = run_infer(file, digits / 'val', '--batch-size', 100, '--out', tmp_path / 'results.json')
        found = float(re.search(r'accuracy: ([\d.]+)% of 360 images', result.stdout)[1])
        assert abs(found - accuracy) < (1 if 'int8' in words[0] else 0.01)
        results = json.loads((tmp_path / 'results.json').read_text())
        assert len(results) == 360 and all(result['name'] == str(result['label']) for result in results)
        scores[file.name] = torch.tensor([result['score'] for result in results])
    torch.testing.assert_close(scores['raw.onnx'], scores['digits.onnx'], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores['digits.xml'], scores['digits.onnx'], rtol=1e-4, atol=1e-5)


@ONNX
@pytest.mark.slow
@pytest.mark.parametrize('mask', ['cyclic', 'exact'])
def test_sliding_window_in_onnx(mask, deployment, tmp_path):
    class SelfAttention(torch.nn.Module):
        raw = False

        def forward(self, x):
            tokens = x.flatten(2).mT[:, None]
            settings = dict(hw_shape=tuple(x.shape[2:]), window_size=3, mask=mask)
            return dict(y=sliding_window_attention(tokens, tokens, tokens, **settings))

    model, path = SelfAttention(), tmp_path / 'attention.onnx'
    deployment.formats.write_onnx(
        deployment.export.export(model, torch.randn(2, 4, 13, 7), 'size'), path, dict(outputs=['y'])
    )
    batches = [torch.randn(n, 4, *size) for n, *size in ((1, 9, 9), (2, 10, 11), (3, 2, 5), (1, 1, 8))]
    deployment.export.compare(model, deployment.formats.open_onnx(path), batches, tolerance=1e-5)


@ONNX
@pytest.mark.slow
@pytest.mark.parametrize(
    'config', ['configs/swin_vsa/swin-vsa-nano_1xb64_digits.py', 'configs/dwnet/dwnet-nano_1xb64_digits.py']
)
def test_any_size(config, run_export, tmp_path, capsys):
    path = tmp_path / 'model.pth'
    write_checkpoint(config, path)
    run_export(config, path)
    assert 'any number and size of images; with 9 batches' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize('file_format', ['pt2', 'aoti'])
def test_programs_of_pytorch(file_format, checkpoint, run_export, tmp_path, capsys, deployment):
    ending = deployment.formats.FORMATS[file_format].ending
    run_export(DIGITS, checkpoint[0], '--format', file_format, '--out', tmp_path / f'digits{ending}')
    assert 'any number of images; with 3 batches' in capsys.readouterr().out


@ONNX
@pytest.mark.slow
@pytest.mark.parametrize(
    'config, words, outputs',
    [
        ('dwnet/segmentation/dwnet-nano_upernet_1xb8-1600i_digit-scenes-128x128', [], ['logits']),
        (
            'vil/detection/retinanet_vil-nano_fpn_1xb8-800i_digit-scenes',
            ['--shape', 128, 160, '--dynamic', 'batch'],
            [f'{name}_{level}' for name in ('scores', 'boxes') for level in range(5)],
        ),
        (
            'vil/detection/mask-rcnn_vil-nano_fpn_1xb8-400i_digit-scenes',
            ['--shape', 128, 160, '--dynamic', 'batch'],
            [f'{name}_{level}' for name in ('features', 'scores', 'boxes') for level in range(5)],
        ),
    ],
)
def test_segmenters_and_detectors(config, words, outputs, run_export, tmp_path, capsys):
    import onnxruntime

    write_checkpoint(f'configs/{config}.py', tmp_path / 'model.pth')
    run_export(f'configs/{config}.py', tmp_path / 'model.pth', *words)
    assert 'differs from the model by at most' in capsys.readouterr().out
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx', providers=['CPUExecutionProvider'])
    assert [output.name for output in session.get_outputs()] == outputs
