"""The code in the README and in the documentation runs."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT
from tests.test_docs.pages import PAGES, blocks, pages_with


def scoped_dicts(values):
    """The configs of our modules among the variables of a block."""
    for value in values:
        if isinstance(value, dict) and str(value.get('type')).startswith('vil_mm.'):
            yield value


@pytest.mark.parametrize('name', pages_with('python'))
def test_python_blocks_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    variables = {}
    for block in blocks(ROOT / name, 'python'):
        before = dict(variables)
        # as many lines before it as on the page, so that errors name the right one
        exec(compile('\n' * (block.line - 1) + block.code, str(block.page), 'exec'), variables)
        for config in scoped_dicts(value for key, value in variables.items() if before.get(key) is not value):
            MODELS.build(config)


def build(config):
    """Build the model of a config, with its optimizer, and compute its outputs for an image."""
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model).eval()
    build_optim_wrapper(model, config.optim_wrapper)
    size = config.model.backbone.get('img_size', 224)
    with torch.no_grad():
        image = torch.rand(1, 3, size, size)
        return model.extract_feat(image) if config.default_scope == 'mmdet' else model(image, mode='tensor')


@pytest.mark.parametrize('name', pages_with('python', 'run'))
def test_configs_beside_those_of_a_library(name, tmp_path):
    for block in blocks(ROOT / name, 'python', 'run'):
        package, folder = re.fullmatch(r'in (\w+)/(configs/[\w/]+)', block.what).groups()
        home = Path(importlib.util.find_spec(package).origin).parent / '.mim' / folder
        path = tmp_path / 'config.py'
        path.write_text(block.code.replace("_base_ = './", f"_base_ = '{home}/"))
        assert len(build(Config.fromfile(path)))


@pytest.mark.parametrize('name', pages_with('python', 'file'))
def test_configs_of_the_reader(name, tmp_path):
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    for block in blocks(ROOT / name, 'python', 'file'):
        path = tmp_path / block.what
        path.write_text(block.code)
        config = Config.fromfile(path)
        # what mmengine's runner asks for
        for split in ('train', 'val', 'test'):
            last = 'optim_wrapper' if split == 'train' else f'{split}_evaluator'
            assert all(config.get(name) is not None for name in (f'{split}_dataloader', f'{split}_cfg', last)), split
        assert len(build(config))


def commands(code):
    """The commands of a shell block, with continued lines joined and comments left out."""
    lines = code.replace('\\\n', ' ').splitlines()
    return [words for line in lines if (words := line.split(' #')[0].split())]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_name_what_exists(page):
    shared = ''.join(
        (ROOT / f'vil_mm/{name}.py').read_text() for name in ('engine/launch', 'engine/overrides', 'conversion/files')
    )
    for block in (block for how in (None, 'not run') for block in blocks(page, 'bash', how)):
        for words in commands(block.code):
            scripts = [word for word in words if word.startswith('tools/')]
            for path in [*scripts, *(word for word in words if word.startswith('configs/'))]:
                assert (ROOT / path).is_file(), (path, words)
            for script in scripts:
                code = (ROOT / script).read_text() + shared
                code += (ROOT / 'tools/train.py').read_text() if 'train' in script else ''
                code += (ROOT / 'tools/test.py').read_text() if 'test' in script else ''
                code += (ROOT / 'tests/conftest.py').read_text() if 'run_tests' in script else ''
                for option in (word for word in words if word.startswith('--')):
                    assert f"'{option}'" in code or f'{option};' in code, (option, words)


@pytest.mark.slow
@pytest.mark.parametrize('name', [name for name in pages_with('bash') if not name.startswith('configs/')])
def test_commands_run(name, tmp_path):
    for folder in ('configs', 'tools'):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for block in blocks(ROOT / name, 'python', 'file'):
        (tmp_path / block.what).write_text(block.code)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ['PATH']])
    for block in blocks(ROOT / name, 'bash'):
        result = subprocess.run(
            ['bash', '-euc', block.code],
            cwd=tmp_path,
            env={**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert result.returncode == 0, result.stdout[-4000:]
