"""Reading checkpoint files."""

import functools
import http.server
import os
import pickle
import sys
import threading
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import PurePosixPath
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader
from safetensors.torch import save_file

from vil_mm.engine.checkpoint import ALWAYS, NEVER, read_checkpoint, register_loader, use_safe_checkpoint_loading


class Called:
    """Unpickling it calls a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.fixture
def mark(tmp_path):
    return tmp_path / 'the-code-ran'


@pytest.fixture
def mmengine_loads(monkeypatch):
    """mmengine's own loaders, for one test."""
    own = {prefix: getattr(load, '__wrapped__', load) for prefix, load in CheckpointLoader._schemes.items()}
    monkeypatch.setattr(CheckpointLoader, '_schemes', own)
    for name in (ALWAYS, NEVER):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def safe_loading(mmengine_loads):
    """Safe loading by mmengine, for one test."""
    before = torch.serialization.get_safe_globals()
    use_safe_checkpoint_loading()
    yield
    os.environ.pop(ALWAYS, None)
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(before)


def save_code(path, mark):
    torch.save(dict(net={}, extra=Called(os.system, f'touch {mark}')), path)


def test_reads_plain_files(tmp_path):
    torch.save(dict(net=dict(a=torch.ones(2)), epoch=3), tmp_path / 'a.pth')
    checkpoint = read_checkpoint(tmp_path / 'a.pth')
    assert checkpoint['epoch'] == 3 and torch.equal(checkpoint['net']['a'], torch.ones(2))
    save_file(dict(a=torch.ones(2)), tmp_path / 'a.safetensors')
    assert torch.equal(read_checkpoint(tmp_path / 'a.safetensors')['a'], torch.ones(2))


def test_code_is_refused_and_does_not_run(tmp_path, mark):
    save_code(tmp_path / 'code.pth', mark)
    with pytest.raises(ValueError, match=r'code.pth was not opened, .* holds posix\.system beside') as refusal:
        read_checkpoint(tmp_path / 'code.pth')
    assert 'weights_only' not in str(refusal.value), 'no advice to run it after all'
    with open(tmp_path / 'bare.pkl', 'wb') as file:
        pickle.dump(Called(os.system, f'touch {mark}'), file)
    with pytest.raises(ValueError, match=r'bare.pkl'):
        read_checkpoint(tmp_path / 'bare.pkl')
    assert not mark.exists()


def test_one_type_can_be_allowed(tmp_path):
    torch.save(dict(args=Namespace(lr=0.1)), tmp_path / 'args.pth')
    with pytest.raises(ValueError, match=r'args.pth .* holds argparse\.Namespace beside .*allow just that type'):
        read_checkpoint(tmp_path / 'args.pth')
    assert read_checkpoint(tmp_path / 'args.pth', allow=['argparse.Namespace'])['args'].lr == 0.1
    for name in ('argparse.Nothing', 'shutil.copy', 'builtins.exec'):
        with pytest.raises(ValueError, match=f"allow='{name}' must be the full name of a type"):
            read_checkpoint(tmp_path / 'args.pth', allow=[name])


def test_allowed_types_run_no_code(tmp_path, mark):
    """Not even that of their constructors."""
    values = dict(folder=PurePosixPath('a/b'), archive=Called(zipfile.ZipFile, str(mark), 'w'))
    torch.save(values, tmp_path / 'values.pth')
    allow = ['pathlib.PurePosixPath', 'zipfile.ZipFile']
    if sys.version_info >= (3, 13):  # where paths are written as those of a private module
        allow.append('pathlib._local.PurePosixPath')
    read = read_checkpoint(tmp_path / 'values.pth', allow=allow)
    assert read['folder'].args == ('a', 'b') and read['archive'].args == (str(mark), 'w')
    assert not mark.exists()


def test_whatever_the_environment_says(tmp_path, mark, safe_loading, monkeypatch):
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    use_safe_checkpoint_loading()
    torch.save(dict(a=torch.ones(2)), tmp_path / 'a.pth')
    assert read_checkpoint(tmp_path / 'a.pth')['a'].sum() == 2
    save_code(tmp_path / 'code.pth', mark)
    with pytest.raises(ValueError, match=r'posix\.system'):
        read_checkpoint(tmp_path / 'code.pth')
    assert not mark.exists()


@pytest.mark.parametrize('meta', [torch.tensor(3), 'text', dict(sha256='0' * 64)])
def test_meta_of_files_without_a_state_dict(meta, tmp_path):
    """It is any entry of theirs, be it called as OpenMMLab's."""
    torch.save(dict(meta=meta, model=dict(a=torch.ones(2))), tmp_path / 'a.pth')
    assert torch.equal(read_checkpoint(tmp_path / 'a.pth')['model']['a'], torch.ones(2))


def test_places_of_tensors(tmp_path):
    save_file(dict(a=torch.ones(2)), tmp_path / 'a.safetensors')
    for place in (None, 'cpu', torch.device('cpu')):
        assert torch.equal(read_checkpoint(tmp_path / 'a.safetensors', place)['a'], torch.ones(2))
    with pytest.raises(ValueError, match=r'map_location=<.* must be a device or None for the \.safetensors file'):
        read_checkpoint(tmp_path / 'a.safetensors', lambda storage, place: storage)


@pytest.fixture
def settings_type():
    """A kind of dict with state of its own, like the settings of yacs, in a module that is there for the test alone."""
    module = ModuleType('no_such_package')
    sys.modules['no_such_package'] = module
    exec('class Settings(dict):\n    pass', module.__dict__)
    yield module.Settings
    sys.modules.pop('no_such_package', None)


@pytest.mark.parametrize('installed', [True, False])
def test_kinds_of_dict_become_plain_ones(tmp_path, settings_type, installed):
    settings = settings_type(lr=0.1, nested=settings_type(name='x'))
    settings.frozen = {'a', 'b'}
    torch.save(dict(model=torch.ones(2), config=settings), tmp_path / 'file.pth')
    if not installed:
        del sys.modules['no_such_package']
    with pytest.raises(ValueError, match=r'file.pth .* holds no_such_package\.Settings beside .*allow just that type'):
        read_checkpoint(tmp_path / 'file.pth')
    config = read_checkpoint(tmp_path / 'file.pth', allow=['no_such_package.Settings'])['config']
    assert type(config) is OrderedDict and config == dict(lr=0.1, nested=dict(name='x'))
    assert config.frozen == {'a', 'b'}
    if not installed:
        with pytest.raises(ValueError, match=r"allow='no_such_package' must be the full name of a type"):
            read_checkpoint(tmp_path / 'file.pth', allow=['no_such_package'])


def test_damaged_and_missing_files(tmp_path):
    torch.save(dict(a=torch.ones(100)), tmp_path / 'a.pth')
    data = (tmp_path / 'a.pth').read_bytes()
    (tmp_path / 'short.pth').write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r'short.pth is damaged or not a checkpoint'):
        read_checkpoint(tmp_path / 'short.pth')
    for name, content in (('a.txt', b'version 1 of a pointer'), ('empty.pth', b''), ('a.html', b'<html></html>')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f'{name} is damaged or not a checkpoint'):
            read_checkpoint(tmp_path / name)
    (tmp_path / 'a.safetensors').write_bytes(b'12345678 and more')
    with pytest.raises(ValueError, match=r'a.safetensors is damaged or not a checkpoint'):
        read_checkpoint(tmp_path / 'a.safetensors')
    with pytest.raises(FileNotFoundError, match='there is no checkpoint file'):
        read_checkpoint(tmp_path / 'none.pth')


@pytest.mark.parametrize('protect', [use_safe_checkpoint_loading, register_loader])
@pytest.mark.parametrize('environment', [{}, {NEVER: '1'}])
def test_mmengine_loads_safely(protect, environment, tmp_path, mark, mmengine_loads, monkeypatch):
    """In the tools, and after ``import vil_mm.apis``, which leaves the environment as it is."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    protect()
    before = dict(os.environ)
    save_code(tmp_path / 'code.pth', mark)
    with pytest.raises(ValueError, match=r'posix.system'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'code.pth'), 'cpu')
    torch.save(dict(a=torch.ones(2), value=np.float64(3.0)), tmp_path / 'a.pth')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'downloads'))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        with pytest.raises(pickle.UnpicklingError, match=r'posix\.system'):
            CheckpointLoader.load_checkpoint(f'{address}/code.pth', 'cpu')
        assert CheckpointLoader.load_checkpoint(f'{address}/a.pth', 'cpu')['value'] == 3
        server.shutdown()
    assert not mark.exists() and {**os.environ, 'TORCH_HOME': ''} == {**before, 'TORCH_HOME': ''}
    monkeypatch.delenv(ALWAYS, raising=False)


def test_numpy_values_are_plain_ones_under_their_old_names_too(tmp_path):
    torch.save(dict(best_acc=np.float64(0.8), array=np.arange(3)), tmp_path / 'new.pth')
    with zipfile.ZipFile(tmp_path / 'new.pth') as source, zipfile.ZipFile(tmp_path / 'old.pth', 'w') as target:
        for entry in source.infolist():
            target.writestr(entry, source.read(entry).replace(b'numpy._core.', b'numpy.core.'))
    for name in ('new.pth', 'old.pth'):
        checkpoint = read_checkpoint(tmp_path / name)
        assert checkpoint['best_acc'] == 0.8 and checkpoint['array'].tolist() == [0, 1, 2]
    assert b'numpy.core.' in (tmp_path / 'old.pth').read_bytes()


class Attribute:
    """Unpickling it reads an attribute of a class that is allowed."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return getattr, (HistoryBuffer, self.name)


def test_history_of_a_run_is_read_before_a_run_starts(tmp_path):
    torch.save(dict(history=HistoryBuffer(np.array([1.0, 2.0]), np.array([1, 1]))), tmp_path / 'run.pth')
    assert read_checkpoint(tmp_path / 'run.pth')['history'].mean() == 1.5


def test_what_is_allowed_stays_allowed(tmp_path, safe_loading):
    torch.save(dict(value=np.float64(3.0)), tmp_path / 'a.pth')
    allowed = set(map(str, torch.serialization.get_safe_globals()))
    read_checkpoint(tmp_path / 'a.pth')
    assert set(map(str, torch.serialization.get_safe_globals())) == allowed


def test_history_of_a_run_loads_and_nothing_else_of_it(tmp_path, safe_loading):
    history = HistoryBuffer(np.array([1.0, 2.0]), np.array([1, 1]))
    torch.save(dict(history=history, value=np.float64(3.0)), tmp_path / 'run.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'run.pth'), 'cpu')
    assert loaded['history'].mean() == 1.5 and loaded['value'] == 3.0
    torch.save(dict(extra=Attribute('__init__')), tmp_path / 'sly.pth')
    with pytest.raises(ValueError, match=r"getattr of '__init__'"):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'sly.pth'), 'cpu')
