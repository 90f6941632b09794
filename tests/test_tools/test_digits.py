"""Every family and mechanism learns the digits by the same short recipe; minutes of training."""

import pytest

from tests.conftest import ROOT, run_tool
from tests.test_tools.test_train_and_test import accuracy

CONFIGS = sorted((ROOT / 'configs').glob('*/*-nano*_digits.py'))


@pytest.mark.slow
@pytest.mark.parametrize('config', CONFIGS, ids=lambda path: path.stem)
def test_learns(config, digits, tmp_path):
    loaders = [f'{split}_dataloader.dataset.data_root={digits}' for split in ('train', 'val', 'test')]
    log = run_tool('tools/train.py', config, '--work-dir', tmp_path, '--cfg-options', *loaders).stdout
    assert float(accuracy(log)) >= 95
