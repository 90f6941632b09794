"""Choosing the checkpoint that a run resumes from."""

import os
import shutil

import pytest
import torch
from mmengine.config import Config

from vil_mm.engine.resuming import find_latest_checkpoint, is_whole, resume


def write(path, age=0):
    """Write a checkpoint, ``age`` seconds before now."""
    torch.save(dict(a=torch.randn(1000)), path)
    time = 1_700_000_000 - age
    os.utime(path, (time, time))
    return path


def truncate(path):
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:2000])
    os.utime(path, (stat.st_atime, stat.st_mtime))


def test_resume_without_a_checkpoint_keeps_what_the_config_loads(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth', resume=True))
    resume(cfg, 'auto')
    assert cfg.load_from == 'pretrained.pth' and not cfg.resume


def test_resume_from_a_named_checkpoint(tmp_path):
    path = str(write(tmp_path / 'best_accuracy_top1_epoch_3.pth'))
    cfg = Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth', resume=False))
    resume(cfg, path)
    assert cfg.load_from == path and cfg.resume
    resume(cfg, 'https://host/epoch_3.pth')
    assert cfg.load_from == 'https://host/epoch_3.pth'
    with pytest.raises(FileNotFoundError, match=r'--resume .*/epoch_4\.pth: there is no such file'):
        resume(cfg, f'{tmp_path}/epoch_4.pth')


def test_latest_checkpoint_is_the_newest_whole_one(tmp_path):
    assert find_latest_checkpoint(tmp_path) is None
    assert find_latest_checkpoint(tmp_path / 'missing') is None
    for age, name in enumerate(('epoch_1.pth', 'iter_10.pth', 'epoch_3.pth')):
        write(tmp_path / name, age)
    write(tmp_path / 'best_accuracy_top1_epoch_1.pth')
    assert find_latest_checkpoint(tmp_path).name == 'epoch_1.pth'
    truncate(tmp_path / 'epoch_1.pth')
    assert find_latest_checkpoint(tmp_path).name == 'iter_10.pth'
    middle = tmp_path / 'iter_10.pth'
    data = bytearray(middle.read_bytes())
    data[2000] ^= 255  # one flipped byte, nothing missing
    middle.write_bytes(data)
    assert find_latest_checkpoint(tmp_path).name == 'epoch_3.pth'
    (tmp_path / 'epoch_3.pth').write_bytes(b'')
    with pytest.raises(ValueError, match=r'none of the checkpoints .* is whole'):
        find_latest_checkpoint(tmp_path)


def test_files_of_the_same_time_count_by_their_numbers(tmp_path):
    for i in (9, 11, 10):
        write(tmp_path / f'epoch_{i}.pth')
    assert find_latest_checkpoint(tmp_path).name == 'epoch_11.pth'


def test_last_checkpoint_outranks_time_and_number(tmp_path):
    """As after a copy of an older run's checkpoint."""
    last, copied = write(tmp_path / 'epoch_1.pth', age=60), write(tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text(str(last))
    assert find_latest_checkpoint(tmp_path) == last
    truncate(last)
    assert find_latest_checkpoint(tmp_path) == copied


@pytest.mark.parametrize('text', ['', '\0' * 20, '\n', 'missing.pth', '/missing/epoch_9.pth'])
def test_last_checkpoint_without_a_file(text, tmp_path):
    newest = write(tmp_path / 'epoch_1.pth')
    write(tmp_path / 'epoch_3.pth', age=60)
    (tmp_path / 'last_checkpoint').write_text(text)
    assert find_latest_checkpoint(tmp_path) == newest


@pytest.mark.parametrize('named', ['/missing/epoch_9.pth', 's3://bucket/run/epoch_9.pth'])
def test_last_checkpoint_without_any_file(named, tmp_path):
    (tmp_path / 'last_checkpoint').write_text(named)
    with pytest.raises(ValueError, match=r'last_checkpoint names .*epoch_9\.pth, which is not there'):
        find_latest_checkpoint(tmp_path)


@pytest.mark.parametrize('relative', [False, True])
def test_folder_that_was_copied_or_moved(relative, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    work_dir = tmp_path / 'work'
    work_dir.mkdir()
    last = write(work_dir / 'epoch_1.pth', age=60)
    write(work_dir / 'epoch_3.pth')
    (work_dir / 'last_checkpoint').write_text('work/epoch_1.pth' if relative else str(last))
    assert find_latest_checkpoint('work') == last
    shutil.copytree(work_dir, tmp_path / 'copied')
    assert find_latest_checkpoint('copied') == tmp_path / 'copied/epoch_1.pth'
    shutil.move(work_dir, tmp_path / 'moved')
    assert find_latest_checkpoint('moved') == tmp_path / 'moved/epoch_1.pth'


def test_latest_checkpoint_in_a_folder_of_its_own(tmp_path):
    """As with ``default_hooks.checkpoint.out_dir``."""
    work_dir, out_dir = tmp_path / 'work', tmp_path / 'checkpoints'
    for folder in (work_dir, out_dir):
        folder.mkdir()
    write(out_dir / 'iter_6.pth', age=60)
    write(out_dir / 'iter_7.pth')
    assert find_latest_checkpoint(work_dir) is None
    (work_dir / 'last_checkpoint').write_text(str(out_dir / 'iter_7.pth'))
    assert find_latest_checkpoint(work_dir) == out_dir / 'iter_7.pth'
    truncate(out_dir / 'iter_7.pth')
    assert find_latest_checkpoint(work_dir) == out_dir / 'iter_6.pth'
    (out_dir / 'iter_8.pth').mkdir()
    with pytest.raises(ValueError, match=r'iter_8\.pth is a folder of shards, as FSDP writes'):
        find_latest_checkpoint(work_dir)


def test_no_damage_passes_or_raises(tmp_path):
    path = tmp_path / 'a.pth'
    torch.save(dict(a=torch.randn(10)), path)
    data = path.read_bytes()
    assert is_whole(path)
    # the directory at the end, where zipfile trusts what it reads
    for position in range(len(data) - 400, len(data)):
        for bit in (1, 64):
            damaged = bytearray(data)
            damaged[position] ^= bit
            path.write_bytes(damaged)
            assert is_whole(path) in (True, False)
    path.write_bytes(data[:-1])
    assert not is_whole(path)
