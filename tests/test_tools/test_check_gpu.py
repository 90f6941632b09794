"""tools/check_gpu.sh: its steps do not depend on one another."""

import os
import shutil
import subprocess

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which('bash'), reason='there is no bash')


def check_gpu(*arguments, python):
    environment = {**os.environ, 'PYTHON': python}
    command = ['bash', 'tools/check_gpu.sh', *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_step_that_fails_does_not_stop_the_others(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\necho "$@"\n[ "$2" != vil_mm.ops.self_check ]\n')
    python.chmod(0o755)
    result = check_gpu(tmp_path / 'out', 'check', 'models', python=str(python))
    assert result.returncode == 1 and 'failed: check;' in result.stderr
    assert 'tools/benchmarks/backbones.py' in (tmp_path / 'out/models.log').read_text()
    assert check_gpu(tmp_path / 'out', 'models', python=str(python)).returncode == 0


def test_unknown_steps_are_refused(tmp_path):
    result = check_gpu(tmp_path, 'bild', python='false')
    assert result.returncode == 2 and "step 'bild' must be one of: build check" in result.stderr
