"""Reading, converting and writing files."""

import os
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from tests.conftest import ROOT, run_tool
from tests.test_hostile_files.readers import BACKBONES, CONVERTERS
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.recognition import recognize
from vil_mm.conversion.vil import convert_state_dict
from vil_mm.engine.checkpoint import read_checkpoint, state_dict_of
from vil_mm.models.layers import CheckpointError

WINDOWS = 'SlidingWindowAttention, FullAttention'
#: The family, a config, the name of a file, and the description of the model.
PUBLISHED = [
    ('vil', 'vil-small_8xb128_in1k', 'a.pth', f'ViL-Small ({WINDOWS}), relative bias, 1000 classes, 224 pixels'),
    ('vil', 'vil-tiny-ape_8xb128_in1k', 'a.pth', f'ViL-Tiny ({WINDOWS}), absolute position, 1000 classes, 224 pixels'),
    (
        'vil',
        'vil-medium-deep_8xb32_in1k-384px',
        'a.pth',
        f'ViL-Medium-Deep ({WINDOWS}), relative bias, 1000 classes, 384 pixels',
    ),
    ('vil', 'detection/retinanet_vil-tiny_fpn_1x_coco', 'a.pth', 'ViL-Tiny (SlidingWindowAttention), relative bias'),
    ('l2vit', 'l2vit-tiny_32xb128_in1k', 'a.pth', 'L2ViT-Tiny (WindowAttention, LinearAttention), 1000 classes'),
    ('dwnet', 'dynamic-dwnet-tiny_8xb128_in1k', 'a.pth', 'DWNet-Tiny, 1000 classes'),
]


def convert(source, folder, keys=('net',), target='out.pth', **kwargs):
    convert_file(source, folder / target, convert_state_dict, keys, 'classification', 'vil', **kwargs)


@pytest.mark.parametrize('ending', [pytest.param('pth', marks=pytest.mark.slow), 'safetensors'])
def test_as_a_command(ending, tiny, tmp_path):
    source, target = tmp_path / 'model_best.pth', tmp_path / f'vil.{ending}'
    published, own, config = tiny('vil')
    published = {**published, 'layer1.1.attn.relative_position_index': torch.zeros(2)}
    torch.save(dict(net=published, arch='msvit', epoch=299, best_acc=0.8, optimizer=dict(lr=1)), source)
    output = run_tool('tools/model_converters/vil2mm.py', source, target, *config).stdout
    model = 'ViL-of another architecture (SlidingWindowAttention, FullAttention), relative bias, 4 classes, 64 pixels'
    assert output.splitlines()[-4:] == [
        'left out  layer1.1.attn.relative_position_index: derived: computed from the grid',
        'left out  the other entries of the file: optimizer',
        f"{target}: 81 tensors from 82 of 'net', 1 left out",
        f'It is {model}: config takes it',
    ]
    checkpoint = read_checkpoint(target)
    state_dict = state_dict_of(checkpoint, target)
    assert state_dict.keys() == own.keys() and all(torch.equal(state_dict[name], own[name]) for name in own)
    if ending == 'pth':
        sha256 = checkpoint['meta'].pop('sha256')
        assert len(sha256) == 64
        assert checkpoint['meta'] == dict(
            arch='msvit', epoch=299, best_acc=0.8, converted_from='model_best.pth', architecture=model
        )


@pytest.mark.parametrize('ending', ['pth', 'safetensors'])
def test_what_changes_in_a_converted_file_is_found(ending, tiny, tmp_path):
    published, _, (_, config) = tiny('vil')
    torch.save(dict(net=published), tmp_path / 'vil.pth')
    convert(tmp_path / 'vil.pth', tmp_path, target=f'out.{ending}', config=config)
    path = tmp_path / f'out.{ending}'
    if ending == 'pth':
        checkpoint = torch.load(path, weights_only=True)
        checkpoint['state_dict']['head.fc.bias'][0] += 1e-3
        torch.save(checkpoint, path)
    else:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf'out\.{ending} is damaged: the SHA-256 of its tensors is not the one'):
        read_checkpoint(path)


def test_a_target_is_not_touched_if_writing_fails(tiny, tmp_path, monkeypatch):
    published, _, (_, config) = tiny('vil')
    torch.save(dict(net=published), tmp_path / 'vil.pth')
    (tmp_path / 'out.pth').write_text('before')
    full = OSError(28, 'No space left on device')
    monkeypatch.setattr(torch, 'save', lambda checkpoint, path: path.write_text('part') and _raise(full))
    with pytest.raises(OSError, match='No space left'):
        convert(tmp_path / 'vil.pth', tmp_path, config=config)
    assert (tmp_path / 'out.pth').read_text() == 'before'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['config.py', 'out.pth', 'vil.pth']


def _raise(error):
    raise error


def test_other_numbers_of_classes_and_image_sizes(tiny, tmp_path):
    _, _, (_, config) = tiny('vil')
    settings = dict(BACKBONES['vil'], img_size=96)
    published = {}
    names = CONVERTERS['vil'][2]
    for name, tensor in MODELS.build(settings).state_dict(prefix='backbone.').items():
        published[names[name]] = tensor.flatten(0, 1) if name.endswith('bias.table') else tensor
    published.update({'head.weight': torch.zeros(7, 64), 'head.bias': torch.zeros(7)})
    converted, _ = convert_state_dict(published)
    model = recognize(converted, 'vil', tmp_path / 'out.pth', str(config))
    assert model.description.endswith('relative bias, 7 classes, 96 pixels') and model.configs == ['config']
    assert converted['backbone.stages.3.blocks.0.attn.relative_position_bias.table'].shape == (5, 5, 4)
    converted['backbone.stages.0.blocks.0.attn.relative_position_bias.table'] = torch.zeros(11, 11, 1)
    with pytest.raises(
        CheckpointError, match=r'The nearest one is config, with \d differences: backbone\.stages\.0\.b'
    ):
        recognize(converted, 'vil', tmp_path / 'out.pth', str(config))


@pytest.mark.slow
@pytest.mark.parametrize('family, config, target, expected', PUBLISHED)
def test_published_models_are_recognized(family, config, target, expected):
    cfg = Config.fromfile(ROOT / 'configs' / family / f'{config}.py')
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        state_dict = MODELS.build(cfg.model).state_dict()
    model = recognize(state_dict, family, Path(target))
    assert model.description == expected and model.configs[0] == Path(config).name


def test_an_unfit_file_ends_the_command_in_one_line(run_converter, tmp_path):
    torch.save(dict(model={'a': torch.ones(1)}), tmp_path / 'detector.pth')
    with pytest.raises(
        SystemExit, match=r"^error: .*detector.pth is not .*: it must hold 'net', but holds \['model'\]$"
    ):
        run_converter('vil2mm.py', tmp_path / 'detector.pth', tmp_path / 'out.pth')


def test_other_files_fail(tmp_path):
    torch.save(dict(net=[]), tmp_path / 'vil.pth')
    with pytest.raises(ValueError, match=r"must hold 'net' or 'model', but holds \['net'\]"):
        convert(tmp_path / 'vil.pth', tmp_path, ['net', 'model'])
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(
        ValueError, match=r'must hold tensors by name, or a dict with them .*, but holds a value of type list'
    ):
        convert(tmp_path / 'list.pth', tmp_path)
    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint file .*none.pth'):
        convert(tmp_path / 'none.pth', tmp_path)
    assert not (tmp_path / 'out.pth').exists()


def test_a_missing_folder_is_named_first(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no folder .*nowhere to write out.pth to'):
        convert(tmp_path / 'absent.pth', tmp_path / 'nowhere')


def test_the_published_file_is_not_overwritten(tiny, tmp_path):
    path = tmp_path / 'same.pth'
    torch.save(dict(net={}), path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r'same\.pth is the published file itself: name another file to write'):
        convert(path, tmp_path, target='same.pth')
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    'text, message',
    [
        ('x = (', 'cannot be read: SyntaxError'),
        ('x = 1', 'must be a backbone of vil_mm, but is None'),
        (
            "model = dict(backbone=dict(type='mmpretrain.ResNet', depth=50))",
            'must be a backbone of vil_mm, but is ResNet',
        ),
    ],
)
def test_a_wrong_config_is_named(text, message, tmp_path):
    (tmp_path / 'mine.py').write_text(text)
    torch.save(dict(net={'a': torch.ones(1)}), tmp_path / 'a.pth')
    with pytest.raises(ValueError, match=rf'config .*mine\.py .*{message}'):
        convert(tmp_path / 'a.pth', tmp_path, config=str(tmp_path / 'mine.py'))


def test_code_does_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "ran"}',)

    torch.save(dict(net={}, args=Code()), tmp_path / 'code.pth')
    with pytest.raises(ValueError, match=r'posix\.system'):
        convert(tmp_path / 'code.pth', tmp_path)
    assert not (tmp_path / 'ran').exists() and not (tmp_path / 'out.pth').exists()
