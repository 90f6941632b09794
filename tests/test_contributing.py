"""CONTRIBUTING.md is true: rooms import as its table says, its files exist, and its steps for an attention work."""

import ast
import importlib.util
import re
import sys

import pytest
import torch

from tests.conftest import ROOT
from tests.test_models.test_attentions import test_contract as contract
from vil_mm.models import ViL
from vil_mm.registry import MODELS

TEXT = (ROOT / 'CONTRIBUTING.md').read_text()
#: Libraries of each room, in the order of the table.
ROOMS = {
    room: set(re.findall(r'`([\w.]+)`', libraries))
    for room, libraries in re.findall(r'^\| `(vil_mm/\S*)` +\|[^|]+\|([^|\n]+)\|$', TEXT, flags=re.M)
}


def room_of(path):
    """The room of a file or folder, by its path from the root."""
    prefixes = {room.replace('*.py', ''): room for room in ROOMS}
    return prefixes[max((prefix for prefix in prefixes if path.startswith(prefix)), key=len)]


def imports(path):
    """Full names of all modules that a file imports, also within functions."""
    package = path.relative_to(ROOT).with_suffix('').parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = '.'.join(package[: len(package) - node.level + 1]) if node.level else ''
            module = '.'.join(filter(None, [base, node.module]))
            yield module
            yield from (f'{module}.{alias.name}' for alias in node.names)


def wrong_imports(path):
    """What a file imports that its row does not allow."""
    order = list(ROOMS)
    room = room_of(str(path.relative_to(ROOT)))
    for name in imports(path):
        if name.split('.')[0] == 'vil_mm':
            file = ROOT.joinpath(*name.split('.'))
            if (file.is_dir() or file.with_suffix('.py').is_file()) and name != 'vil_mm':
                # a folder that holds rooms, such as vil_mm/models, is as high as its highest room
                inside = [r for r in order if r.startswith(f'{file.relative_to(ROOT)}/')]
                highest = max(inside or [room_of(str(file.relative_to(ROOT)))], key=order.index)
                if order.index(highest) > order.index(room):
                    yield name
        elif not any(f'{name}.'.startswith(f'{known}.') for known in (*ROOMS[room], *sys.stdlib_module_names)):
            yield name


def test_every_room_is_in_the_table():
    folders = {f'{path.parent.relative_to(ROOT)}/' for path in ROOT.glob('vil_mm/**/*.py')} - {
        'vil_mm/',
        'vil_mm/models/',
    }
    assert folders and all(any(folder.startswith(room) for room in list(ROOMS)[1:]) for folder in folders), folders


@pytest.mark.parametrize('room', ROOMS)
def test_rooms_import_only_from_above(room):
    paths = [path for path in ROOT.glob('vil_mm/**/*.py') if room_of(str(path.relative_to(ROOT))) == room]
    paths = [path for path in paths if path != ROOT / 'vil_mm/models/__init__.py']  # hands the rooms' names on
    assert paths
    wrong = {str(path.relative_to(ROOT)): sorted(set(wrong_imports(path))) for path in paths}
    assert {path: names for path, names in wrong.items() if names} == {}


@pytest.mark.parametrize(
    'line, expected',
    [
        ('from ..backbones import ViL', 'vil_mm.models.backbones'),
        ('from ... import models', 'vil_mm.models'),
        ('import mmcv.ops', 'mmcv.ops'),
        ('def f():\n    from mmdet.models import RetinaNet', 'mmdet.models'),
    ],
)
def test_wrong_imports_are_found(line, expected, tmp_path, monkeypatch):
    path = tmp_path / 'vil_mm/models/layers/wrong.py'
    path.parent.mkdir(parents=True)
    path.write_text(line)
    for folder in ('vil_mm/models/backbones', 'vil_mm/ops'):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    monkeypatch.setitem(globals(), 'ROOT', tmp_path)
    assert expected in set(wrong_imports(path))


def test_named_files_exist():
    new = {'vil_mm/models/attentions/mean_attention.py'}
    paths = set(re.findall(r'`((?:vil_mm|tools|tests|csrc|configs)/[\w./-]+)`', TEXT)) - new
    assert len(paths) > 20
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []


@pytest.fixture
def written_attention(tmp_path):
    """The attention of the page, in a module of its own where the page puts it."""
    section = TEXT.split('## Add an attention')[1].split('\n## ')[0]
    code, line = (re.sub(r'^   ', '', block, flags=re.M) for block in re.findall(r'```python\n(.+?)```', section, re.S))
    module, name = re.fullmatch(r'\s*from \.(\w+) import (\w+) as \w+\s*', line).groups()
    (tmp_path / f'{module}.py').write_text(code)
    spec = importlib.util.spec_from_file_location(f'vil_mm.models.attentions.{module}', tmp_path / f'{module}.py')
    loaded = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(loaded)
        yield getattr(loaded, name)
    finally:
        MODELS.module_dict.pop(name, None)


def test_steps_for_an_attention_work(written_attention):
    name = written_attention.__name__
    assert name in contract.attention_classes()
    for num_global_tokens in (0, 2):
        contract.check_any_grid(written_attention, num_global_tokens, (5, 7))
        contract.check_gradients(written_attention, num_global_tokens)
        contract.check_state_round_trip(written_attention, num_global_tokens)
    contract.check_repr(written_attention)
    model = ViL('nano', attn_cfg=dict(type=f'vil_mm.{name}'))
    assert isinstance(model.stages[0].blocks[0].attn, written_attention)
    assert all(x.isfinite().all() for x in model(torch.randn(1, 3, 40, 64)))
