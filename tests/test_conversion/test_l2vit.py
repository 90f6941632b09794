"""Published files of L2ViT."""

import argparse

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT
from tests.test_conversion.published import tensors
from vil_mm.conversion.l2vit import convert_state_dict, read_class_map


@pytest.fixture(scope='module')
def published():
    return tensors('l2vit/l2vit_tiny_cls_224')


def filled(published, value):
    return {**published, 'head.bias': torch.full_like(published['head.bias'], value)}


@pytest.fixture
def convert(run_converter):
    """Run the command, and return the tensors that it writes."""

    def run(*words):
        run_converter('l2vit2mm.py', *words)
        return torch.load(words[1], weights_only=True)['state_dict']

    return run


def test_as_a_command(tiny, tmp_path, run_converter):
    published, _, config = tiny('l2vit')
    source, target = tmp_path / 'best-ema.pth', tmp_path / 'l2vit.pth'
    args = argparse.Namespace(lr=4e-3)
    torch.save(dict(model=published, model_ema=published, epoch=299, args=args, scaler={}), source)
    with pytest.raises(SystemExit, match=r'error: .*holds argparse.Namespace.*--allow'):
        run_converter('l2vit2mm.py', source, target)
    output = run_converter('l2vit2mm.py', source, target, '--allow', 'argparse.Namespace', *config)
    assert 'left out  the other entries of the file: args, model, scaler' in output
    assert f"{len(published)} tensors from {len(published)} of 'model_ema', 0 left out" in output
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint['meta'].items() >= dict(epoch=299, converted_from='best-ema.pth').items()


@pytest.mark.parametrize(
    'held, choice, expected',
    [
        (('model', 'model_ema'), None, 'model_ema'),
        (('model', 'model_ema'), 'ema', 'model_ema'),
        (('model', 'model_ema'), 'raw', 'model'),
        (('model',), None, 'model'),
        (('state_dict',), None, 'state_dict'),
        (('state_dict',), 'raw', 'state_dict'),
        (('model',), 'ema', None),
    ],
)
def test_choice_of_weights(held, choice, expected, tiny, tmp_path, convert):
    published, _, config = tiny('l2vit')
    values = {'model': 1, 'model_ema': 2, 'state_dict': 3}
    torch.save({key: filled(published, values[key]) for key in held}, tmp_path / 'a.pth')
    words = [tmp_path / 'a.pth', tmp_path / 'b.pth', *(['--weights', choice] if choice else []), *config]
    if expected is None:
        with pytest.raises(SystemExit, match=r"must hold 'model_ema', but holds \['model'\]"):
            convert(*words)
    else:
        assert (convert(*words)['head.fc.bias'] == values[expected]).all()


def test_class_map(tiny, tmp_path, convert):
    published, _, config = tiny('l2vit')
    head = {**published, 'head.weight': torch.randn(21841, 64), 'head.bias': torch.randn(21841)}
    torch.save(dict(model=head), tmp_path / 'in21k.pth')
    rows = torch.randperm(21841)[:1000]
    path = tmp_path / 'map.txt'
    path.write_text('\n'.join(map(str, rows.tolist())) + '\n')
    state = convert(tmp_path / 'in21k.pth', tmp_path / 'in1k.pth', '--class-map', path, *config)
    assert torch.equal(state['head.fc.weight'], head['head.weight'][rows])
    assert torch.equal(state['head.fc.bias'], head['head.bias'][rows])


@pytest.mark.parametrize(
    'lines, message',
    [
        (range(999), r'must hold 1000 distinct rows, but holds 999, 999 distinct'),
        ([*range(999), 0], r'must hold 1000 distinct rows, but holds 1000, 999 distinct'),
        ([*range(999), -1], r"must hold the number of a row in each line, but holds '-1'"),
        ([*range(999), 'cat'], r"but holds 'cat'"),
        ([*range(999), 21841], r'rows such as 21841, but the head has rows 0 to 21840'),
    ],
)
def test_malformed_class_map(lines, message, tmp_path, convert):
    torch.save(dict(model={'head.weight': torch.zeros(21841, 1), 'head.bias': torch.zeros(21841)}), tmp_path / 'a.pth')
    (tmp_path / 'map.txt').write_text('\n'.join(map(str, lines)))
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        convert(tmp_path / 'a.pth', tmp_path / 'b.pth', '--class-map', tmp_path / 'map.txt')
    assert not (tmp_path / 'b.pth').exists()


def test_class_map_needs_a_file_and_a_head(tmp_path, convert):
    with pytest.raises(FileNotFoundError):
        read_class_map(tmp_path / 'none.txt')
    with pytest.raises(ValueError, match='needs the head of a classifier, but the file has none'):
        convert_state_dict({'norm.weight': torch.zeros(1)}, class_map=range(1000))


def test_a_detector_keeps_its_other_names():
    folder = ROOT / 'configs/l2vit/detection'
    for name in ('mask-rcnn_l2vit-tiny_fpn_ms-crop-1x_coco', 'retinanet_l2vit-tiny_fpn_ms-crop-1x_coco'):
        cfg = Config.fromfile(folder / f'{name}.py')
        init_default_scope(cfg.default_scope)
        with torch.device('meta'):
            own = MODELS.build(cfg.model).state_dict()
        body = tensors('l2vit/l2vit_tiny_backbone_150x218')
        published = {f'backbone.{key}': tensor for key, tensor in body.items()}
        if name.startswith('retinanet'):  # which takes no output of the first stage
            del published['backbone.norm0.weight'], published['backbone.norm0.bias']
        published.update({key: t for key, t in own.items() if not key.startswith('backbone.')})
        converted, dropped = convert_state_dict(published)
        assert not dropped
        assert {key: tensor.shape for key, tensor in converted.items()} == {key: t.shape for key, t in own.items()}
