"""What the tools do to a config."""

import pytest
from mmengine.config import Config

from vil_mm.engine import launch

SMALL = 'configs/vil/vil-small_8xb128_in1k.py'


def test_options_and_work_dir():
    cfg = launch.load_config(SMALL, None, 'none', {'train_dataloader.batch_size': 3})
    assert cfg.work_dir == 'work_dirs/vil-small_8xb128_in1k'
    assert cfg.train_dataloader.batch_size == 3
    assert launch.load_config(SMALL, 'elsewhere', 'none', None).work_dir == 'elsewhere'


def test_amp_on_a_gpu_and_without(monkeypatch):
    cfg = Config(dict(optim_wrapper=dict(type='OptimWrapper', dtype='float16')))
    monkeypatch.setattr(launch, 'is_cuda_available', lambda: True)
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper == dict(type='AmpOptimWrapper', dtype='float16', loss_scale='dynamic')
    monkeypatch.setattr(launch, 'is_cuda_available', lambda: False)
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper == dict(type='vil_mm.CPUAmpOptimWrapper')
    with pytest.raises(ValueError, match=r"--amp needs a GPU for MaskRCNN: mmcv's RoIAlign"):
        launch.enable_amp(Config(dict(cfg, model=dict(type='MaskRCNN', roi_head=dict()))))


def test_auto_scale_lr():
    cfg = launch.load_config(SMALL, None, 'none', None)
    launch.enable_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr == dict(base_batch_size=1024, enable=True)
    with pytest.raises(ValueError, match=r'--auto-scale-lr needs auto_scale_lr=dict\(base_batch_size'):
        launch.enable_auto_scale_lr(Config(dict()))


@pytest.mark.parametrize('hooks', [None, [dict(type='EMAHook')], [dict(type='vil_mm.CheckFiniteLossHook')]])
def test_every_run_stops_at_a_loss_that_is_not_finite(hooks, monkeypatch):
    built = []
    monkeypatch.setattr(launch, 'use_safe_checkpoint_loading', lambda: None)
    monkeypatch.setattr(launch.Runner, 'from_cfg', built.append)
    launch.build_runner(Config(dict(launcher='none', custom_hooks=hooks)))
    types = [hook['type'] for hook in built[0].custom_hooks]
    assert types.count('vil_mm.CheckFiniteLossHook') == 1
    assert len(types) == len({*types, *(hook['type'] for hook in hooks or [])})


def test_synchronized_norms_need_gpus(monkeypatch):
    monkeypatch.setattr(launch, 'use_safe_checkpoint_loading', lambda: None)
    cfg = launch.load_config(
        'configs/vil/segmentation/vil-small_upernet_8xb2-160k_ade20k-512x512.py', None, 'pytorch', {}
    )
    with pytest.raises(ValueError, match=r"several processes without GPUs cannot run a model with type='SyncBN'"):
        launch.build_runner(cfg)


def test_mixed_precision_of_a_config_needs_a_gpu(monkeypatch):
    built = []
    monkeypatch.setattr(launch, 'use_safe_checkpoint_loading', lambda: None)
    monkeypatch.setattr(launch.Runner, 'from_cfg', built.append)
    wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', clip_grad=dict(max_norm=1.0))
    for cuda, expected in ((False, dict(clip_grad=dict(max_norm=1.0))), (True, wrapper)):
        monkeypatch.setattr(launch, 'is_cuda_available', lambda cuda=cuda: cuda)
        launch.build_runner(Config(dict(launcher='none', optim_wrapper=dict(wrapper))))
        assert built[-1].optim_wrapper == expected
