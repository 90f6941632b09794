"""Two runs in one work directory."""

import os
import signal

import pytest

from vil_mm.engine.work_dir import is_first_process, lock


def test_a_second_run_is_refused_until_the_first_one_ends(tmp_path):
    folder = tmp_path / 'run'
    told, tell = os.pipe()
    other = os.fork()
    if other == 0:
        file = lock(folder)
        os.write(tell, b'locked' if file else b'not locked')
        signal.pause()
    assert os.read(told, 20) == b'locked'
    with pytest.raises(RuntimeError, match=rf'{folder} is the work directory of another run, process {other} on'):
        lock(folder)
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)
    lock(folder).close()


@pytest.mark.parametrize('name', ['RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'])
def test_only_the_first_process_locks(name, monkeypatch):
    for rank in '01':
        monkeypatch.setenv(name, rank)
        assert is_first_process() == (rank == '0')


def test_a_file_system_without_locks(tmp_path, monkeypatch, capsys):
    def unsupported(*args):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr('vil_mm.engine.work_dir.fcntl.lockf', unsupported)
    assert lock(tmp_path) is None
