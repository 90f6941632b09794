"""The README's first command, its set-up left out."""

import re

import pytest

from tests.conftest import run_tool


@pytest.mark.slow
def test_quickstart():
    log = run_tool('tools/quickstart.py').stdout
    assert float(re.search(r'ViL has learned to read digits: ([\d.]+)% top-1 on 360', log)[1]) >= 97
    for name in ('checkpoint', 'loss and accuracy', 'predictions'):
        assert re.search(rf'{name}: +/.*vil-nano_1xb64_digits/', log)


def test_digits_in_imagenet_layout(digits):
    for split, count in (('train', 1437), ('val', 360)):
        lines = (digits / 'meta' / f'{split}.txt').read_text().splitlines()
        assert len(lines) == count == len(list((digits / split).glob('*/*.png')))
        name, label = lines[-1].split()
        assert name.split('/')[0] == label and (digits / split / name).is_file()
    train, val = ((digits / 'meta' / f'{split}.txt').read_text().split() for split in ('train', 'val'))
    assert not {name for name in train if '/' in name} & {name for name in val if '/' in name}
