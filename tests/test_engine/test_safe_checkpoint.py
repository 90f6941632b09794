"""Checkpoints on a disk that is full."""

import errno
import os
import re

import pytest

from tests.test_engine.tiny import config
from vil_mm.engine import launch
from vil_mm.engine.atomic_backend import AtomicBackend
from vil_mm.engine.checkpoint import read_checkpoint
from vil_mm.engine.resuming import is_whole, resume

pytestmark = pytest.mark.usefixtures('quick')


def train(folder, name, epochs, **checkpoint):
    cfg = config(folder, train_cfg=dict(by_epoch=True, max_epochs=epochs), experiment_name=name)
    cfg.default_hooks.checkpoint.update(checkpoint)
    resume(cfg, 'auto')
    launch.build_runner(cfg).train()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    folder = tmp_path / 'run'
    train(folder, 'first', 2, max_keep_ckpts=1)
    write = os.fsync

    def full(file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr('vil_mm.engine.atomic_backend.os.fsync', full)
    message = (
        rf'the checkpoint after iteration \d+ could not be written: .*No space left .*; {folder}/epoch_2\.pth is kept'
    )
    with pytest.raises(RuntimeError, match=message):
        train(folder, 'second', 3, max_keep_ckpts=1)
    assert [path.name for path in folder.glob('*.pth*')] == ['epoch_2.pth'] and is_whole(folder / 'epoch_2.pth')
    monkeypatch.setattr('vil_mm.engine.atomic_backend.os.fsync', write)
    train(folder, 'third', 3, max_keep_ckpts=1)
    assert [path.name for path in folder.glob('*.pth*')] == ['epoch_3.pth']


@pytest.mark.skipif(os.geteuid() != 0, reason='mounts a file system')
def test_a_small_file_system(tmp_path):
    """The kernel's own error, not one that the test raises."""
    if os.system(f'mount -t tmpfs -o size=128k tmpfs {tmp_path} 2>/dev/null'):
        pytest.skip('may not mount a file system')
    try:
        backend, path = AtomicBackend(), tmp_path / 'a.pth'
        backend.put(b'a' * 60_000, str(path))
        with pytest.raises(OSError, match='No space left') as caught:
            backend.put(b'b' * 90_000, str(path))
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == b'a' * 60_000 and os.listdir(tmp_path) == ['a.pth']
    finally:
        os.system(f'umount {tmp_path}')


def test_the_best_checkpoint_is_removed_only_after_the_next(tmp_path, monkeypatch):
    from tests.test_engine.tiny_images import classifier

    folder = tmp_path / 'run'
    scores = iter([1.0, 3.0, 2.0])
    monkeypatch.setattr('mmpretrain.evaluation.Accuracy.compute_metrics', lambda self, results: {'top1': next(scores)})
    removed = []
    remove = AtomicBackend.remove

    def note(self, path):
        removed.append((os.path.basename(path), sorted(p.name for p in folder.glob('best_*'))))
        remove(self, path)

    monkeypatch.setattr(AtomicBackend, 'remove', note)
    launch.build_runner(classifier(folder)).train()
    first, second = (f'best_accuracy_top1_epoch_{i}.pth' for i in (1, 2))
    assert [found for name, found in removed if name == first] == [[first, second]]
    assert [path.name for path in folder.glob('best_*')] == [second]


def test_place_of_a_flexible_runners_checkpoints(tmp_path):
    """After a new best checkpoint, mmengine writes the last one again with one iteration too many."""
    from tests.test_engine.tiny_images import classifier

    cfg = classifier(tmp_path / 'run')
    cfg.update(runner_type='FlexibleRunner', strategy=dict(type='SingleDeviceStrategy'), env_cfg={})
    runner = launch.build_runner(cfg)
    runner.train()
    for path in (tmp_path / 'run').glob('*.pth'):
        meta = read_checkpoint(path)['meta']
        epoch = int(re.search(r'epoch_(\d+)', path.name)[1])
        assert (meta['epoch'], meta['iter']) == (epoch, epoch * len(runner.train_dataloader)), path.name
