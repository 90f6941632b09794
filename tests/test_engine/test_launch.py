"""What the tools do to a config."""

import pytest
from mmengine.config import Config

from tests.test_engine.tiny import config, record
from vil_mm.engine import CheckFiniteLossHook, launch

SMALL = 'configs/vil/vil-small_8xb128_in1k.py'


def test_options_and_work_dir():
    cfg = launch.load_config(SMALL, None, 'none', {'train_dataloader.batch_size': 3})
    assert cfg.work_dir == 'work_dirs/vil-small_8xb128_in1k'
    assert cfg.train_dataloader.batch_size == 3
    assert launch.load_config(SMALL, 'elsewhere', 'none', None).work_dir == 'elsewhere'


def test_work_dir_of_none(tmp_path):
    (tmp_path / 'mine.py').write_text('work_dir = None\n')
    assert launch.load_config(str(tmp_path / 'mine.py'), None, 'none', None).work_dir == 'work_dirs/mine'


@pytest.fixture(autouse=True)
def other_tests_load_as_before(monkeypatch):
    """Keep the tools' safe loading of checkpoints, which is for the whole process, out of other tests."""
    monkeypatch.setattr(launch, 'use_safe_checkpoint_loading', lambda: None)


@pytest.fixture
def pure(tmp_path):
    """Write and read a pure-Python config, whose types are classes."""

    def read(imports, text):
        path = tmp_path / 'pure.py'
        path.write_text(f'{imports}\n{text}\nlauncher = "none"\n')
        return Config.fromfile(path)

    return read


@pytest.fixture
def built(monkeypatch):
    """Configs that would be built into runners."""
    configs = []
    monkeypatch.setattr(launch.Runner, 'from_cfg', configs.append)
    return configs


def test_work_dir_given_twice():
    with pytest.raises(ValueError, match='--work-dir a and --cfg-options work_dir=b both name the folder'):
        launch.load_config(SMALL, 'a', 'none', dict(work_dir='b'))
    assert launch.load_config(SMALL, None, 'none', dict(work_dir='b')).work_dir == 'b'


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


def test_amp_replaces_no_unknown_wrapper():
    for name, advice in (
        ('AmpOptimWraper', "did you mean 'AmpOptimWrapper'"),
        ('mypkg.Mine', 'name its module in custom_imports'),
    ):
        cfg = Config(dict(optim_wrapper=dict(type=name)))
        with pytest.raises(ValueError, match=rf"optim_wrapper\.type='{name}' is not registered: {advice}"):
            launch.enable_amp(cfg)
        assert cfg.optim_wrapper.type == name
    with pytest.raises(ValueError, match=r'--amp needs optim_wrapper=dict\(\.\.\.\) in the config'):
        launch.enable_amp(Config({}))


def test_auto_scale_lr():
    cfg = launch.load_config(SMALL, None, 'none', None)
    launch.enable_auto_scale_lr(cfg)
    assert cfg.auto_scale_lr == dict(base_batch_size=1024, enable=True)
    with pytest.raises(ValueError, match=r'--auto-scale-lr needs auto_scale_lr=dict\(base_batch_size'):
        launch.enable_auto_scale_lr(Config(dict()))
    for size in (0, -4, '16'):
        with pytest.raises(ValueError, match=r'auto_scale_lr\.base_batch_size=.* must be a positive number'):
            launch.enable_auto_scale_lr(Config(dict(auto_scale_lr=dict(base_batch_size=size))))


def test_amp_of_a_pure_python_config(monkeypatch, pure):
    text = 'optim_wrapper = dict(type={}, optimizer=dict(type=SGD, lr=0.1))'
    cfg = pure(
        'from mmengine.optim import AmpOptimWrapper\nfrom torch.optim import SGD', text.format('AmpOptimWrapper')
    )
    launch.enable_amp(cfg)
    assert cfg.optim_wrapper.type == 'vil_mm.CPUAmpOptimWrapper'
    cfg = pure(
        'from mmengine.optim import ApexOptimWrapper\nfrom torch.optim import SGD', text.format('ApexOptimWrapper')
    )
    with pytest.raises(ValueError, match=r'--amp would replace type=.*ApexOptimWrapper'):
        launch.enable_amp(cfg)


@pytest.mark.parametrize(
    'batch_size, accumulated, ratio', [(2, 1, 0.25), (2, 4, 1.0), (8, 1, 1.0), (8, 3, 3.0), (16, 1, 2.0)]
)
def test_learning_rate_scales_with_the_images_of_a_step(batch_size, accumulated, ratio, tmp_path):
    """The rates of the whole schedule, among them the lowest, are in the ratio of the batch sizes."""
    schedule = [
        dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=2),
        dict(type='CosineAnnealingLR', eta_min=0.01, by_epoch=False, end=6, T_max=6),
    ]
    train_cfg = dict(by_epoch=False, max_iters=6, val_interval=6)
    rates = []
    for name, settings in (
        ('base', dict(batch_size=8)),
        ('scaled', dict(batch_size=batch_size, auto_scale_lr=dict(base_batch_size=8))),
    ):
        cfg = config(tmp_path / name, schedule, train_cfg=train_cfg, length=100, **settings)
        if name == 'scaled':
            launch.enable_auto_scale_lr(cfg)
            cfg.optim_wrapper.accumulative_counts = accumulated
        runner = launch.build_runner(cfg)
        runner.train()
        rates.append([groups[0]['lr'] for groups in record(runner).values()])
    # a second run, of the config that the first one wrote, scales as often
    assert runner.cfg.auto_scale_lr.base_batch_size == 8 and runner.cfg.param_scheduler[1].eta_min == 0.01
    assert rates[1] == pytest.approx([rate * ratio for rate in rates[0]])


@pytest.mark.parametrize(
    'hooks', [None, [dict(type='EMAHook')], [dict(type='vil_mm.CheckFiniteLossHook')], [CheckFiniteLossHook()]]
)
def test_every_run_has_the_safeguards(hooks, built):
    launch.build_runner(Config(dict(launcher='none', custom_hooks=hooks)))
    types = [hook['type'] if isinstance(hook, dict) else 'vil_mm.CheckFiniteLossHook' for hook in built[0].custom_hooks]
    assert types.count('vil_mm.CheckFiniteLossHook') == types.count('vil_mm.FollowScheduleHook') == 1
    assert ('EMAHook' in types) == (hooks == [dict(type='EMAHook')])


def test_safeguards_of_a_pure_python_config(built, pure):
    hooks = 'custom_hooks = [dict(type=CheckFiniteLossHook)]'
    launch.build_runner(pure('from vil_mm.engine import CheckFiniteLossHook', hooks))
    assert [hook.type for hook in built[0].custom_hooks] == [
        CheckFiniteLossHook,
        'vil_mm.CheckClassesHook',
        'vil_mm.CheckImagesHook',
        'vil_mm.CheckLabelsHook',
        'vil_mm.CheckParametersHook',
        'vil_mm.CheckTrainingHook',
        'vil_mm.ExactResumeHook',
        'vil_mm.FollowScheduleHook',
        'vil_mm.StopOnSignalHook',
    ]
    assert built[0].default_hooks.checkpoint.type == 'vil_mm.SafeCheckpointHook'


@pytest.mark.parametrize('train_cfg', [dict(max_epochs=0), dict(max_iters=-1), dict(max_iters='ten')])
def test_training_without_an_epoch(train_cfg, built):
    with pytest.raises(
        ValueError, match=r"train_cfg\.max_(epochs=0|iters=-1|iters='ten') must be a number of at least 1"
    ):
        launch.build_runner(Config(dict(launcher='none', train_cfg=train_cfg)))


UPERNET = 'configs/vil/segmentation/vil-small_upernet_8xb2-160k_ade20k-512x512.py'
NORM = 'default_scope = "mmengine"\nmodel = dict(decode_head=dict(norm_cfg=[dict(type={})]))'


@pytest.mark.parametrize(
    'read',
    [
        lambda pure: launch.load_config(UPERNET, None, 'pytorch', {}),
        lambda pure: pure('from torch.nn import SyncBatchNorm', NORM.format('SyncBatchNorm')),
        lambda pure: pure('from mmcv.ops import SyncBatchNorm', NORM.format('SyncBatchNorm')),
        lambda pure: pure('import torch', NORM.format('"MMSyncBN"')),
        lambda pure: pure('import torch', NORM.format('"torch.nn.SyncBatchNorm"')),
        lambda pure: pure('import torch', NORM.format('"BN"') + '\nsync_bn = "torch"'),
    ],
)
def test_synchronized_norms_need_gpus(read, built, pure):
    cfg = read(pure)
    cfg.launcher = 'pytorch'
    with pytest.raises(ValueError, match=r"several processes without GPUs cannot run .* norms \(type='SyncBN'\)"):
        launch.build_runner(cfg)


@pytest.mark.parametrize(
    'imports, text, wrapped, sharded',
    [
        ('import torch', '', True, False),
        ('from mmengine.runner import Runner', 'runner_type = Runner', True, False),
        ('import torch', 'runner_type = "Runner"', True, False),
        (
            'from mmengine.runner import FlexibleRunner\nfrom mmengine._strategy import FSDPStrategy',
            'runner_type = FlexibleRunner\nstrategy = dict(type=FSDPStrategy)',
            False,
            True,
        ),
    ],
)
def test_processes_without_gpus_wrap_the_model(imports, text, wrapped, sharded, monkeypatch, built, pure):
    monkeypatch.setattr(launch.torch.distributed, 'init_process_group', lambda backend: None)
    monkeypatch.setattr('mmengine.runner.FlexibleRunner.from_cfg', built.append)
    for name in ('RANK', 'WORLD_SIZE'):
        monkeypatch.setenv(name, '0')
    cfg = pure(imports, f'default_scope = "mmengine"\nmodel = dict()\n{text}')
    cfg.launcher = 'pytorch'
    launch.build_runner(cfg)
    assert built[0].env_cfg.dist_cfg.backend == 'gloo'
    assert (built[0].get('model_wrapper_cfg') is not None) == wrapped
    assert (built[0].get('strategy', {}).get('model_wrapper', {}).get('device_id') == 'cpu') == sharded


def test_what_a_sharded_run_refuses(pure):
    cfg = pure('import torch', 'runner_type = "FlexibleRunner"\nstrategy = dict(type="vil_mm.FullyShardStrategy")')
    cfg.custom_hooks = [dict(type='EMAHook')]
    with pytest.raises(ValueError, match="custom_hooks has an EMAHook, which mmengine's FlexibleRunner cannot resume"):
        launch.build_runner(cfg)
    with pytest.raises(ValueError, match=r"strategy\.model_wrapper=\{'a': 1\} has no effect with FullyShardStrategy"):
        launch.FullyShardStrategy(model_wrapper=dict(a=1))


@pytest.mark.parametrize('kind', ['"AmpOptimWrapper"', 'AmpOptimWrapper'])
def test_mixed_precision_of_a_config_needs_a_gpu(kind, monkeypatch, built, pure):
    text = f'optim_wrapper = dict(type={kind}, loss_scale="dynamic", clip_grad=dict(max_norm=1.0))'
    for cuda in (False, True):
        monkeypatch.setattr(launch, 'is_cuda_available', lambda cuda=cuda: cuda)
        launch.build_runner(pure('from mmengine.optim import AmpOptimWrapper', text))
        assert built[-1].optim_wrapper.clip_grad == dict(max_norm=1.0)
        assert ({'type', 'loss_scale'} <= set(built[-1].optim_wrapper)) == cuda
        assert ('AmpOptimWrapper' in built[-1].pretty_text) == cuda
