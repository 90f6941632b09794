"""Commands that get a file which they cannot use: each ends with a message of one line."""

import pytest
import torch

from tests.conftest import options, run_tool
from tests.test_hostile_files.files import FILES

NANO = 'configs/vil/vil-nano_1xb64_digits.py'
NAMES = ['list []', 'tensors are NoneType None', 'half is missing', 'a pickle of code', 'cut at 0.5', 'one torch.int8']


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('command', ['test', 'resume', 'load_from', 'vil2mm'])
def test_commands(command, name, few_digits, tmp_path):
    from tests.test_hostile_files.readers import make_converter, make_readers

    content, _, _ = make_readers(tmp_path)
    key, path = 'state_dict', tmp_path / 'hostile.pth'
    words = ['--work-dir', tmp_path / 'run', *options(few_digits, 8)]
    if command == 'vil2mm':
        content, key, _, _ = make_converter('vil', tmp_path)
        words = ['tools/model_converters/vil2mm.py', path, tmp_path / 'out.pth']
    elif command == 'test':
        words = ['tools/test.py', NANO, path, *words]
    elif command == 'resume':
        words = ['tools/train.py', NANO, '--resume', path, *words]
    else:
        words = ['tools/train.py', NANO, *words, f'load_from={path}']
    FILES[f'holds {name}' if name == 'list []' else name](path, content, key)
    result = run_tool(*words, check=False)
    assert result.returncode != 0 and 'Traceback' not in result.stdout, result.stdout[-3000:]
    assert result.stdout.splitlines()[-1].startswith('error: ') and 'hostile.pth' in result.stdout.splitlines()[-1]
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.slow
def test_parts_that_may_be_missing(few_digits, tmp_path):
    """A head of other classes is refused, unless it is named."""
    from mmpretrain import get_model

    import vil_mm.apis  # noqa: F401

    state = get_model('vil-nano_1xb64_digits').state_dict()
    state.update({'head.fc.weight': torch.zeros(7, 256), 'head.fc.bias': torch.zeros(7)})
    torch.save(dict(state_dict=state), tmp_path / 'seven.pth')
    words = ['tools/test.py', NANO, tmp_path / 'seven.pth', '--work-dir', tmp_path, *options(few_digits, 8)]
    result = run_tool(*words, check=False)
    assert result.returncode != 0
    assert 'has other shapes or types for 2 tensors (head.fc.weight, which has shape (7, 256)' in result.stdout
    assert 'accuracy/top1' in run_tool(*words, '--allow-partial', 'head').stdout
