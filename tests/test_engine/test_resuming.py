"""Resuming a run."""

import pytest
import torch
from mmengine.config import Config

from vil_mm.engine.resuming import find_latest_checkpoint, is_whole, resume


def test_resume_without_a_checkpoint_keeps_what_the_config_loads(tmp_path):
    cfg = Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth', resume=False))
    resume(cfg, 'auto')
    assert cfg.load_from == 'pretrained.pth' and not cfg.resume
    resume(cfg, 'epoch_3.pth')
    assert cfg.load_from == 'epoch_3.pth' and cfg.resume


def test_latest_checkpoint_is_a_whole_one(tmp_path):
    assert find_latest_checkpoint(tmp_path) is None
    for i in (11, 10, 9):
        torch.save(dict(a=torch.randn(1000)), tmp_path / f'epoch_{i}.pth')
    torch.save({}, tmp_path / 'best_accuracy_top1_epoch_11.pth')
    assert find_latest_checkpoint(tmp_path).name == 'epoch_11.pth'
    newest = tmp_path / 'epoch_11.pth'
    newest.write_bytes(newest.read_bytes()[:2000])
    assert find_latest_checkpoint(tmp_path).name == 'epoch_10.pth'
    middle = tmp_path / 'epoch_10.pth'
    data = bytearray(middle.read_bytes())
    data[2000] ^= 255  # one flipped byte, nothing missing
    middle.write_bytes(data)
    assert find_latest_checkpoint(tmp_path).name == 'epoch_9.pth'
    (tmp_path / 'epoch_9.pth').write_bytes(b'')
    with pytest.raises(ValueError, match=r'none of the checkpoints .* is whole'):
        find_latest_checkpoint(tmp_path)


def test_latest_checkpoint_in_a_folder_of_its_own(tmp_path):
    """As with ``default_hooks.checkpoint.out_dir``."""
    work_dir, out_dir = tmp_path / 'work', tmp_path / 'checkpoints'
    for folder in (work_dir, out_dir):
        folder.mkdir()
    torch.save(dict(a=torch.randn(10)), out_dir / 'iter_7.pth')
    assert find_latest_checkpoint(work_dir) is None
    (work_dir / 'last_checkpoint').write_text(str(out_dir / 'iter_7.pth'))
    assert find_latest_checkpoint(work_dir) == out_dir / 'iter_7.pth'
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
