"""Options of the test run, and what several tests start from."""

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Before Triton is imported: its kernels then run on the CPU. With 0 in the environment they run on a GPU.
os.environ.setdefault('TRITON_INTERPRET', '1')
#: Scripts are forked from a process that holds the libraries: to import these takes longer than most scripts' own work.
FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(['pytest', 'mmpretrain.models', 'mmdet.datasets', 'mmseg.datasets'])


def pytest_addoption(parser):
    parser.addoption('--slow', action='store_true', help='also run the tests that take minutes')
    parser.addoption('--seed', type=int, help='of the random rows of the op; each run draws and prints its own')


def pytest_collection_modifyitems(config, items):
    if config.getoption('--slow'):
        return
    skip = pytest.mark.skip(reason='takes minutes: runs with --slow')
    for item in items:
        if 'slow' in item.keywords:
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def seed():
    # not at the top, where it would delay the start of the workers
    import torch

    torch.manual_seed(0)


@pytest.fixture(scope='session')
def digits(tmp_path_factory):
    """The folder of the handwritten digits, as the README's first command writes it."""
    root = tmp_path_factory.mktemp('digits')
    run_tool('tools/dataset_converters/digits.py', '--root', root)
    return root


@pytest.fixture(scope='session')
def few_digits(digits, tmp_path_factory):
    """The digits, with lists of 32 training and 23 test images."""
    root = tmp_path_factory.mktemp('few_digits')
    (root / 'meta').mkdir()
    for split, count in (('train', 32), ('val', 23)):
        (root / split).symlink_to(digits / split)
        lines = (digits / 'meta' / f'{split}.txt').read_text().splitlines()
        step = len(lines) // count
        (root / 'meta' / f'{split}.txt').write_text('\n'.join(lines[::step][:count]) + '\n')
    return root


def options(root, batch_size, **others):
    """Overrides of the data root, the batch size and what else is given."""
    loaders = {f'{split}_dataloader': split for split in ('train', 'val', 'test')}
    words = [f'{loader}.dataset.data_root={root}' for loader in loaders]
    words += [f'{loader}.batch_size={batch_size}' for loader in loaders]
    return ['--cfg-options', *words, *(f'{key.replace("__", ".")}={value}' for key, value in others.items())]


def epochs(number):
    """Further options, which end the training and its cosine after so many epochs."""
    return {'train_cfg__max_epochs': number, 'param_scheduler__1__end': number, 'param_scheduler__1__T_max': number}


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def start_script(*words, log, env=None):
    """Start ``python script.py``, in the repository's root; what it prints goes to a file."""
    process = FORKS.Process(target=run_script, args=(list(map(str, words)), log, {**os.environ, **(env or {})}))
    process.start()
    return process


def run_script(words, log, env):
    """Be ``python script.py``, in a process that was just forked."""
    # that of a process that the user starts
    multiprocessing.set_start_method(None, force=True)
    with open(log, 'w') as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    sys.path.insert(0, str(Path(words[0]).resolve().parent))
    # held until the process ends, because a process group of PyTorch that is deleted may wait forever for its threads
    run_script.results = runpy.run_path(words[0], run_name='__main__')


def run_tool(*command, check=True, env=None):
    """Run a script of the repository as a user would, in the repository's root."""
    words = [str(word) for word in command]
    if words[0].endswith('.py'):
        with tempfile.NamedTemporaryFile('r') as log:
            process = start_script(*words, log=log.name, env=env)
            process.join()
            result = subprocess.CompletedProcess(words, process.exitcode, log.read())
    else:
        result = subprocess.run(
            ['bash' if words[0].endswith('.sh') else sys.executable, *words],
            cwd=ROOT,
            env={**os.environ, 'PYTHON': sys.executable, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    if check:
        assert result.returncode == 0, result.stdout[-4000:]
    return result


def run_in_two_processes(*command):
    """Run a script as tools/dist_train.sh and dist_test.sh do; the result is that of the first process."""
    port = free_port()
    ranks = [
        dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port) for rank in '01'
    ]
    with ThreadPoolExecutor() as pool:
        first, _ = pool.map(lambda env: run_tool(*command, '--launcher', 'pytorch', env=env), ranks)
    return first
