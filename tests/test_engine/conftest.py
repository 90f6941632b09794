"""What several tests of runs start from."""

import pytest
from mmengine.config import Config

from vil_mm.engine import launch


@pytest.fixture
def quick(monkeypatch):
    """Leave out what takes most of the time of a tiny run: mmengine formats the config for every checkpoint.

    The tools' safe loading of checkpoints, which is for the whole process, is
    kept out of other tests.
    """
    monkeypatch.setattr(Config, 'pretty_text', 'the config')
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)
    monkeypatch.setattr(launch, 'use_safe_checkpoint_loading', lambda: None)
