"""Reading, converting and writing files."""

import os

import pytest
import torch

from tests.conftest import run_tool
from vil_mm.conversion.files import convert_file


def keep(published):
    return dict(published), {}


def convert(source, folder, keys=('net',)):
    convert_file(source, folder / 'out.pth', keep, keys, 'classification')


def test_as_a_command(tmp_path):
    source, target = tmp_path / 'model_best.pth', tmp_path / 'vil.pth'
    published = {'head.bias': torch.ones(3), 'norm.weight': torch.zeros(2), 'layer1.1.attn.relative_position_index': 0}
    torch.save(dict(net=published, arch='msvit', epoch=299, best_acc=0.8, optimizer=dict(lr=1)), source)
    output = run_tool('tools/model_converters/vil2mm.py', source, target).stdout
    assert output.splitlines()[-3:] == [
        'left out  layer1.1.attn.relative_position_index: derived: computed from the grid',
        'left out  the other entries of the file: optimizer',
        f"{target}: 2 tensors from 3 of 'net', 1 left out",
    ]
    checkpoint = torch.load(target, weights_only=True)
    assert checkpoint['meta'] == dict(arch='msvit', epoch=299, best_acc=0.8, converted_from='model_best.pth')
    assert checkpoint['state_dict']['head.fc.bias'].tolist() == [1, 1, 1]


def test_an_unfit_file_ends_the_command_in_one_line(run_converter, tmp_path):
    torch.save(dict(model={}), tmp_path / 'detector.pth')
    with pytest.raises(
        SystemExit, match=r"^error: .*detector.pth is not .*: it must hold 'net', but holds \['model'\]$"
    ):
        run_converter('vil2mm.py', tmp_path / 'detector.pth', tmp_path / 'out.pth')


def test_other_files_fail(tmp_path):
    torch.save(dict(net=[]), tmp_path / 'vil.pth')
    with pytest.raises(ValueError, match=r"must hold 'net' or 'model', but holds \['net'\]"):
        convert(tmp_path / 'vil.pth', tmp_path, ['net', 'model'])
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(ValueError, match=r"must hold 'net', but holds list"):
        convert(tmp_path / 'list.pth', tmp_path)
    with pytest.raises(FileNotFoundError, match=r'there is no checkpoint file .*none.pth'):
        convert(tmp_path / 'none.pth', tmp_path)
    assert not (tmp_path / 'out.pth').exists()


def test_a_missing_folder_is_named_first(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'there is no folder .*nowhere to write out.pth to'):
        convert(tmp_path / 'absent.pth', tmp_path / 'nowhere')


def test_code_does_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return os.system, (f'touch {tmp_path / "ran"}',)

    torch.save(dict(net={}, args=Code()), tmp_path / 'code.pth')
    with pytest.raises(ValueError, match=r'posix\.system'):
        convert(tmp_path / 'code.pth', tmp_path)
    assert not (tmp_path / 'ran').exists() and not (tmp_path / 'out.pth').exists()
