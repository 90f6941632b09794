"""The op's tests with its CPU code built for AddressSanitizer and UndefinedBehaviorSanitizer."""

import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.test_ops.cases import backend_parameters

FLAGS = '-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1'
# what compiles or starts processes of its own is left out; these call the kernels in every way
TESTS = 'definition or gradients or empty or huge or direct or vary or (fixed_rows and (exact or all))'


def library(name):
    return subprocess.check_output(['g++', f'-print-file-name={name}'], text=True).strip()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which('g++'), reason='there is no g++')
@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_sanitizers(backend, tmp_path):
    for folder in ('csrc', 'vil_mm', 'tests/test_ops'):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns('*.so', '__pycache__'))
    for file in ('setup.py', 'pyproject.toml', 'tests/__init__.py', 'tests/conftest.py'):
        shutil.copy(ROOT / file, tmp_path / file)
    environment = {**os.environ, 'CFLAGS': FLAGS, 'CXXFLAGS': FLAGS, 'LDFLAGS': FLAGS, 'VIL_MM_BUILD_CUDA': '0'}
    command = [sys.executable, 'setup.py', 'build_ext', '--inplace']
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert list((tmp_path / 'vil_mm').glob('_C*'))
    environment |= {
        'PYTHONPATH': str(tmp_path),
        # the libraries of the sanitizers come first, and the one that throws exceptions with them
        'LD_PRELOAD': ' '.join(library(name) for name in ('libasan.so', 'libubsan.so', 'libstdc++.so.6')),
        'ASAN_OPTIONS': 'detect_leaks=0',
    }
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests/test_ops', '-k', TESTS]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and ' passed' in result.stdout, result.stdout[-4000:] + result.stderr[-4000:]
