"""A table of hostile files and of what reads them: each is refused with its name and the reason, or loaded exactly.

By default, everything reads an eighth of the files, each another one.
"""

import warnings
from pathlib import Path

import pytest
import torch

from tests.test_hostile_files.files import FILES, HARMLESS
from tests.test_hostile_files.readers import CONVERTERS, make_converter, make_readers


def eighths(readers, start):
    """Pairs of a reader and a list of files."""
    for default, reader in enumerate(readers, start):
        for i in range(8):
            marks = () if i == default else pytest.mark.slow
            yield pytest.param(reader, [*FILES][i::8], marks=marks, id=f'{reader}-{i}')


def is_exact(loaded, expected):
    return loaded.keys() == expected.keys() and all(
        torch.equal(loaded[name].double(), tensor.double()) for name, tensor in expected.items()
    )


def check(read, files, content, key, expected, path):
    """Read files; list those that end in another error, or in silence in other tensors."""
    wrong = {}
    for name in dict.fromkeys([*files, *sorted(HARMLESS)]):
        FILES[name](path, content, key)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                loaded = read(path)
        except (ValueError, FileNotFoundError) as error:
            reason = str(error).replace(str(path), '')
            if name in HARMLESS or reason == str(error) or len(reason) < 20:
                wrong[name] = f'{type(error).__name__}: {error}'
        except Exception as error:
            wrong[name] = f'{type(error).__name__}: {error}'
        else:
            if not is_exact(loaded, expected):
                wrong[name] = 'loaded otherwise'
    assert not wrong, '\n'.join(f'{name}: {what}' for name, what in wrong.items())


@pytest.mark.parametrize('family, files', eighths(CONVERTERS, 0))
def test_converters(family, files, tmp_path):
    content, key, own, convert = make_converter(family, tmp_path)
    path = tmp_path / 'published.pth'
    path.touch()
    check(convert, files, content, key, own, path)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return make_readers(tmp_path_factory.mktemp('hostile'))


@pytest.mark.parametrize('reader, files', eighths(['test', 'resume', 'inferencer'], len(CONVERTERS)))
def test_readers(reader, files, run, tmp_path):
    content, own, readers = run
    check(readers[reader], files, content, 'state_dict', own, tmp_path / 'run.pth')


@pytest.mark.parametrize('reader, files', eighths(['reader'], 3))
def test_the_reader_itself(reader, files, run, tmp_path):
    """It returns what a file holds, whatever it is for."""
    content, _, readers = run
    path = tmp_path / 'run.pth'
    for name in files:
        FILES[name](path, content, 'state_dict')
        try:
            readers[reader](path)
        except ValueError as error:
            assert name not in HARMLESS and path.name in str(error), name
    assert not Path('/tmp/vil_mm-the-code-ran').exists()


def test_the_table_is_long():
    assert len(FILES) >= 120 and 5 < len(HARMLESS) < 15
