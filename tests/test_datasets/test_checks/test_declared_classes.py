"""Classes of a dataset as its config declares them."""

import pytest

from vil_mm.datasets.checks.configured import Configured
from vil_mm.datasets.checks.declared_classes import class_names


class Digits:
    METAINFO = dict(classes=('0', '1'))


def of(kind=Digits, **config):
    return Configured('train_dataloader', config, kind)


def test_where_names_are_declared(tmp_path):
    names = tmp_path / 'names.txt'
    names.write_text('cat\ndog\n')
    assert class_names(of()) == ['0', '1']
    assert class_names(of(metainfo=dict(palette=[]))) == ['0', '1']
    assert class_names(of(metainfo=dict(classes=('cat',)))) == ['cat']
    assert class_names(of(metainfo=dict(classes=str(names)))) == ['cat', 'dog']
    assert class_names(of(classes=['cat'])) == ['cat']
    assert class_names(of(object)) is None


@pytest.mark.parametrize(
    'metainfo, message',
    [
        (
            dict(classes='digit'),
            r"classes='digit' must be a list of names, or a .*: a single class is classes=\['",
        ),
        (dict(classes={'a', 'b'}), r'must be a list or a tuple of names'),
        (dict(CLASSES=['a']), r"metainfo=\{'CLASSES': ...\} is not read: write metainfo=dict\(classes="),
        ({'class': ['a']}, r"'class'"),
        (dict(clases=['a']), r"'clases'"),
    ],
)
def test_names_that_are_not_read(metainfo, message):
    with pytest.raises(ValueError, match=rf'train_dataloader: .*{message}'):
        class_names(of(metainfo=metainfo))


def test_missing_files_of_names():
    for name in ('/tmp/none/names', 'none.txt'):
        with pytest.raises(FileNotFoundError, match=f"train_dataloader: there is no file of names classes='{name}'"):
            class_names(of(classes=name))
