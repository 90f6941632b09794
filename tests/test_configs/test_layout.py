"""How configs are laid out: short leaves, over bases that are named by what they contain."""

import ast

import pytest

from tests.test_configs.helpers import BASES, CONFIGS, PATHS, load

FAMILIES = sorted(path.parent.name for path in CONFIGS.glob('*/metafile.yml'))


def bases_of(path):
    """The files that a config inherits from directly."""
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == '_base_':
            names = ast.literal_eval(statement.value)
            return [(path.parent / name).resolve() for name in ([names] if isinstance(names, str) else names)]
    return []


def test_names_are_unique():
    assert len(PATHS) == sum(BASES not in path.parents for path in CONFIGS.rglob('*.py'))


@pytest.mark.parametrize('family', FAMILIES)
def test_leaves_are_short_and_inherit_no_other_family(family):
    for path in (CONFIGS / family).rglob('*.py'):
        assert len(path.read_text().splitlines()) <= 30, path
        for base in bases_of(path):
            assert BASES in base.parents or CONFIGS / family in base.parents, (path, base)


def test_every_base_is_used():
    used, new = set(), set(PATHS.values())
    while new:
        new = {base for path in new for base in bases_of(path)} - used
        used |= new
    assert set(BASES.rglob('*.py')) <= used


def test_only_bases_of_models_name_families():
    words = {word for family in FAMILIES for word in family.split('_')} | {'vitae'}
    for path in BASES.rglob('*.py'):
        named = words & set(path.stem.replace('-', '_').split('_'))
        assert not named or (path.parent.name == 'models' and 'vil_mm.' in path.read_text()), path


def test_archs_are_found_by_name():
    """A search for the name of an architecture finds where it is written."""
    sources = ''.join(path.read_text() for path in (CONFIGS.parent / 'vil_mm').rglob('*.py'))
    archs = {load(name).model.backbone.get('arch') for name in PATHS} - {None}
    assert [arch for arch in archs if ',' not in arch and f"'{arch}'" not in sources] == []
