"""What a wheel holds."""

import shutil
import zipfile

from tests.conftest import ROOT, run_tool

SOURCES = ('vil_mm', 'configs', 'tools', 'setup.py', 'pyproject.toml', 'README.md', 'LICENSE', 'model-index.yml')


def test_wheel_holds_configs_tools_and_index(tmp_path):
    """Also where the extension cannot be built: here for want of its sources, elsewhere of a compiler."""
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        options = dict(ignore=shutil.ignore_patterns('*.so')) if copy is shutil.copytree else {}
        copy(ROOT / name, tmp_path / name, **options)
    program = (
        f'import os; os.chdir({str(tmp_path)!r}); from setuptools import build_meta; build_meta.build_wheel("dist")'
    )
    output = run_tool('-c', program, env={'VIL_MM_BUILD_CUDA': '0'}).stdout
    assert 'vil_mm._C was not built, so the reference implementation is used' in output
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
