"""What a wheel holds, and what is built where something is missing."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest
import torch

from tests.conftest import ROOT, run_tool

SOURCES = ('vil_mm', 'configs', 'tools', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'model-index.yml')


def copy_sources(folder):
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        options = dict(ignore=shutil.ignore_patterns('*.so')) if copy is shutil.copytree else {}
        copy(ROOT / name, folder / name, **options)


def test_wheel_holds_configs_tools_and_index(tmp_path):
    """Also where the extension cannot be built: here for want of its sources, elsewhere of a compiler."""
    copy_sources(tmp_path)
    program = (
        f'import os; os.chdir({str(tmp_path)!r}); from setuptools import build_meta; build_meta.build_wheel("dist")'
    )
    output = run_tool('-c', program, env={'VIL_MM_BUILD_CUDA': '0'}).stdout
    assert 'vil_mm._C was not built, so plain PyTorch serves' in output
    (wheel,) = (tmp_path / 'dist').glob('vil_mm-*.whl')
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        'vil_mm/models/backbones/vil.py',
        'vil_mm/ops/self_check/worker.py',
        'vil_mm/.mim/model-index.yml',
        'vil_mm/.mim/configs/vil/vil-small_8xb128_in1k.py',
        'vil_mm/.mim/configs/_base_/models/vil_cls.py',
        'vil_mm/.mim/tools/train.py',
        'vil_mm/.mim/tools/dist_train.sh',
    } <= names
    assert not [name for name in names if name.startswith('tests/') or '__pycache__' in name]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith('linux') or not shutil.which('nm'), reason='needs nm, on Linux')
def test_wheel_serves_other_versions(tmp_path):
    """Its extension, built from the source distribution, needs nothing of Python's and only PyTorch's stable ABI."""
    copy_sources(tmp_path)
    for name in ('csrc', 'MANIFEST.in'):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tmp_path / name)
    build = 'import os; os.chdir({folder!r}); from setuptools import build_meta; build_meta.{kind}("dist")'
    run_tool('-c', build.format(folder=str(tmp_path), kind='build_sdist'))
    (archive,) = (tmp_path / 'dist').iterdir()
    shutil.unpack_archive(archive, tmp_path / 'unpacked')
    (sources,) = (tmp_path / 'unpacked').iterdir()
    run_tool('-c', build.format(folder=str(sources), kind='build_wheel'), env={'VIL_MM_BUILD_CUDA': '0'})
    (wheel,) = (sources / 'dist').iterdir()
    assert re.fullmatch(r'vil_mm-.+-py3-none-linux_\w+\.whl', wheel.name)
    shutil.unpack_archive(wheel, tmp_path / 'site', 'zip')
    program = f"""
import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})
from vil_mm.ops import _library
print(_library.__file__, _library.LOAD_ERROR)
"""
    assert run_tool('-c', program).stdout.split() == [str(tmp_path / 'site/vil_mm/ops/_library.py'), 'None']
    command = ['nm', '--dynamic', '--undefined-only', '--demangle', tmp_path / 'site/vil_mm/_C.so']
    symbols = re.findall(r'^ +[Uw] (.+)', subprocess.check_output(command, text=True), flags=re.M)
    assert any(symbol.startswith('aoti_torch_') for symbol in symbols)
    assert not [symbol for symbol in symbols if re.search(r'\b(at|c10|torch)::|^_?Py|^GOMP_', symbol)]


@pytest.mark.skipif(not torch.version.cuda, reason='PyTorch is built without CUDA')
@pytest.mark.parametrize(
    'choice, cpu_code, message',
    [
        pytest.param('', '', 'The CUDA code of vil_mm._C was not built, only its CPU code', id='falls back'),
        pytest.param('', '#error', 'error: #error', id='CPU code fails too'),
        pytest.param('1', '', 'Error compiling objects', id='requested'),
    ],
)
def test_cuda_code_that_does_not_build(tmp_path, choice, cpu_code, message):
    """The CPU code is then built alone, and a message says so; unless the CUDA code was requested."""
    copy_sources(tmp_path)
    files = {
        'csrc/ops.cpp': cpu_code,
        'csrc/cuda/kernels.cu': '',
        'toolkit/include/cuda_runtime.h': '',
        'toolkit/bin/nvcc': f'#!/bin/sh\n[ "$1" = --version ] && echo release {torch.version.cuda} || exit 1\n',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / 'toolkit/bin/nvcc').chmod(0o755)
    environment = {**os.environ, 'CUDA_HOME': str(tmp_path / 'toolkit'), 'VIL_MM_BUILD_CUDA': choice}
    command = [sys.executable, 'setup.py', 'build_ext', '--inplace']
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    built = message.startswith('The CUDA code')
    assert (result.returncode == 0) == built and message in result.stdout + result.stderr
    assert len(list((tmp_path / 'vil_mm').glob('_C*.so'))) == built
