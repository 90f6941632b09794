"""Options of the test run, and what several tests start from."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent


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


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def run_tool(*command, check=True, env=None):
    """Run a script of the repository as a user would, in the repository's root."""
    words = [str(word) for word in command]
    start = ['bash'] if words[0].endswith('.sh') else [sys.executable]
    result = subprocess.run(
        start + words,
        cwd=ROOT,
        env={**os.environ, 'PYTHON': sys.executable, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if check:
        assert result.returncode == 0, result.stdout[-4000:]
    return result
