"""Reading checkpoint files."""

import os
import pickle
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from vil_mm.engine.checkpoint import find_latest_checkpoint, read_checkpoint, use_safe_checkpoint_loading


class Code:
    """Unpickling it runs a command."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def mark(tmp_path):
    return tmp_path / 'the-code-ran'


@pytest.fixture
def mmengine_loader():
    """Put mmengine's own loader back afterwards."""
    schemes = CheckpointLoader._schemes.copy()
    yield
    CheckpointLoader._schemes = schemes


def save_code(path, mark):
    torch.save(dict(net={}, extra=Code(f'touch {mark}')), path)


def test_reads_plain_files(tmp_path):
    torch.save(dict(net=dict(a=torch.ones(2)), epoch=3), tmp_path / 'a.pth')
    checkpoint = read_checkpoint(tmp_path / 'a.pth')
    assert checkpoint['epoch'] == 3 and torch.equal(checkpoint['net']['a'], torch.ones(2))
    save_file(dict(a=torch.ones(2)), tmp_path / 'a.safetensors')
    assert torch.equal(read_checkpoint(tmp_path / 'a.safetensors')['a'], torch.ones(2))


def test_code_is_refused_and_does_not_run(tmp_path, mark):
    save_code(tmp_path / 'code.pth', mark)
    with pytest.raises(ValueError, match=r'code.pth holds more than tensors .*posix\.system'):
        read_checkpoint(tmp_path / 'code.pth')
    with open(tmp_path / 'bare.pkl', 'wb') as file:
        pickle.dump(Code(f'touch {mark}'), file)
    with pytest.raises(ValueError, match=r'bare.pkl'):
        read_checkpoint(tmp_path / 'bare.pkl')
    assert not mark.exists()


def test_one_type_can_be_allowed(tmp_path):
    torch.save(dict(args=Namespace(lr=0.1)), tmp_path / 'args.pth')
    with pytest.raises(ValueError, match=r'argparse\.Namespace.*allow it alone'):
        read_checkpoint(tmp_path / 'args.pth')
    assert read_checkpoint(tmp_path / 'args.pth', allow=['argparse.Namespace'])['args'].lr == 0.1
    with pytest.raises(ValueError, match=r"allow='argparse.Nothing' names nothing"):
        read_checkpoint(tmp_path / 'args.pth', allow=['argparse.Nothing'])


def test_damaged_and_missing_files(tmp_path):
    torch.save(dict(a=torch.ones(100)), tmp_path / 'a.pth')
    data = (tmp_path / 'a.pth').read_bytes()
    (tmp_path / 'short.pth').write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r'short.pth is damaged or no checkpoint'):
        read_checkpoint(tmp_path / 'short.pth')
    with pytest.raises(FileNotFoundError, match='there is no checkpoint file'):
        read_checkpoint(tmp_path / 'none.pth')


def test_mmengine_loads_safely(tmp_path, mark, mmengine_loader):
    save_code(tmp_path / 'code.pth', mark)
    use_safe_checkpoint_loading()
    with pytest.raises(ValueError, match=r'posix.system'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'code.pth'), 'cpu')
    assert not mark.exists()


class Attribute:
    """Unpickling it reads an attribute of a class that is allowed."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return getattr, (HistoryBuffer, self.name)


def test_history_of_a_run_loads_and_nothing_else_of_it(tmp_path, mmengine_loader):
    use_safe_checkpoint_loading()
    history = HistoryBuffer(np.array([1.0, 2.0]), np.array([1, 1]))
    torch.save(dict(history=history, value=np.float64(3.0)), tmp_path / 'run.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'run.pth'), 'cpu')
    assert loaded['history'].mean() == 1.5 and loaded['value'] == 3.0
    torch.save(dict(extra=Attribute('__init__')), tmp_path / 'sly.pth')
    with pytest.raises(ValueError, match=r"getattr of '__init__'"):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'sly.pth'), 'cpu')


def test_latest_checkpoint_is_a_whole_one(tmp_path):
    assert find_latest_checkpoint(tmp_path) is None
    for i in (9, 10, 11):
        torch.save(dict(a=torch.randn(1000)), tmp_path / f'epoch_{i}.pth')
        os.utime(tmp_path / f'epoch_{i}.pth', (i, i))
    assert find_latest_checkpoint(tmp_path).name == 'epoch_11.pth'
    newest = tmp_path / 'epoch_11.pth'
    newest.write_bytes(newest.read_bytes()[:2000])
    os.utime(newest, (11, 11))
    assert find_latest_checkpoint(tmp_path).name == 'epoch_10.pth'
    middle = tmp_path / 'epoch_10.pth'
    data = bytearray(middle.read_bytes())
    data[2000] ^= 255  # one flipped byte, nothing missing
    middle.write_bytes(data)
    os.utime(middle, (10, 10))
    assert find_latest_checkpoint(tmp_path).name == 'epoch_9.pth'
    (tmp_path / 'epoch_9.pth').write_bytes(b'')
    with pytest.raises(ValueError, match=r'none of the checkpoints .* is whole'):
        find_latest_checkpoint(tmp_path)
