"""Our commands in the tables of the published ones: they are understood, and run at reduced size."""

import re
import runpy
import shlex

import pytest
import torch
from mmengine.config import Config
from mmengine.fileio import load
from mmengine.registry import MODELS, init_default_scope

from tests.conftest import ROOT, run_tool
from tests.scenes import on_scenes, write
from tests.test_conversion.published import tensors
from tools import test, train
from vil_mm.engine import launch

FAMILIES = sorted(path.parent for path in ROOT.glob('configs/*/commands.yml'))
COMMANDS = [pytest.param(c['here'], id=f'{f.name}: {c["what"]}') for f in FAMILIES for c in load(f / 'commands.yml')]
#: How a command line of several processes says the tool, by its first words, and where the number of processes is.
LAUNCHERS = {
    'python': r'python (tools/\S+) (.*)',
    'dist_train': r'bash tools/dist_(train).sh (\S+) \d+(.*)',
    'dist_test': r'bash tools/dist_(test).sh (\S+ \S+) \d+(.*)',
    'slurm': r'GPUS=\d+ bash tools/slurm_(train).sh PARTITION JOB (\S+)(.*)',
    'mpi': r'mpirun -n \d+ -x MASTER_ADDR=HOST python (tools/train.py \S+)(.*) --launcher mpi',
}
#: Files like the published ones, by a part of the name of the converted one: the key of the weights, and a recorded
#: case whose tensors have their names.
PUBLISHED = {
    'mask-rcnn_vil': ('model', 'vil_detector/mask_rcnn_tiny_detections'),
    'vil': ('net', 'vil/cls_tiny_ape_224'),
    'l2vit': ('model', 'l2vit/l2vit_tiny_cls_224'),
}


def one_process(line):
    """The words of a command line, for the tool in this process."""
    for pattern in LAUNCHERS.values():
        match = re.fullmatch(pattern, line)
        if match:
            first, *others = match.groups()
            tool = first if first.startswith('tools/') else f'tools/{first}.py'
            return shlex.split(' '.join([tool, *others]))
    raise ValueError(line)


def test_every_published_command_is_there():
    assert {folder.name: len(load(folder / 'commands.yml')) for folder in FAMILIES} == {
        'dwnet': 5,
        'l2vit': 6,
        'vil': 24,
        'vitae_v2': 7,
    }


@pytest.mark.parametrize('lines', COMMANDS)
def test_options_are_understood(lines, monkeypatch):
    for line in lines:
        tool, *words = one_process(line)
        assert (ROOT / tool).is_file()
        if tool in ('tools/train.py', 'tools/test.py'):
            monkeypatch.setattr('sys.argv', [tool, *words])
            args = (train if tool == 'tools/train.py' else test).parse_args()
            assert (ROOT / args.config).is_file()
            if args.cfg_options:
                launch.load_config(ROOT / args.config, None, 'none', args.cfg_options)


@pytest.fixture(scope='module')
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp('scenes')
    run_tool('tools/dataset_converters/digit_scenes.py', '--root', root, '--num-train', 4, '--num-val', 2)
    return root


@pytest.mark.parametrize('split', ['train', 'val'])
def test_scenes_without_images(split, tmp_path):
    result = run_tool(
        'tools/dataset_converters/digit_scenes.py', '--root', tmp_path / 'new', f'--num-{split}', 0, check=False
    )
    assert result.returncode == 2 and f'--num-{split} 0 must be at least 1' in result.stdout
    assert not (tmp_path / 'new').exists()


def on_digits(path, root):
    """Read a classifier's config, for four digits to train with and two to test with, and one epoch."""
    cfg = Config.fromfile(path)
    for name, count in (('train_dataloader', 4), ('val_dataloader', 2), ('test_dataloader', 2)):
        if cfg.get(name):
            cfg[name].dataset.update(data_root=str(root), indices=count)
            cfg[name].update(batch_size=2, num_workers=0, persistent_workers=False)
    cfg.train_cfg.max_epochs = 1
    cfg.param_scheduler = None
    return cfg


def reduced(path, digits, scenes):
    """Read a config for few and small images."""
    cfg = Config.fromfile(path)
    if cfg.default_scope == 'mmpretrain':
        cfg = on_digits(path, digits)
    else:
        cfg = on_scenes(path, scenes)
        cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=1)
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = cfg.param_scheduler = None
    cfg.default_hooks.logger.interval = 1
    cfg.default_hooks.checkpoint.save_best = None
    return cfg


def save_weights(cfg, path):
    """Save initial weights of a model, with the classes of ImageNet-22K where the first of them are taken."""
    init_default_scope(cfg.default_scope)
    state = MODELS.build(cfg.model).state_dict()
    if any(hook['type'].endswith('KeepFirstClassesHook') for hook in cfg.get('custom_hooks') or []):
        for name in ('head.fc.weight', 'head.fc.bias'):
            state[name] = torch.cat([state[name], state[name][:500]])
    path.parent.mkdir(exist_ok=True)
    torch.save(dict(state_dict=state, meta={}), path)


def convert(tool, words, folder, monkeypatch):
    source, target, *options = words
    key, case = next(found for name, found in PUBLISHED.items() if name in target)
    state = {name: tensor.contiguous() for name, tensor in tensors(case).items()}  # converters refuse expanded ones
    state.update({name: tensor.long() for name, tensor in state.items() if name.endswith('num_batches_tracked')})
    torch.save({key: state}, folder / source)
    (folder / 'custom_map22kto1k.txt').write_text('\n'.join(map(str, range(1000))))
    (folder / 'checkpoints').mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr('sys.argv', [tool, source, target, *options])
    runpy.run_path(str(ROOT / tool), run_name='__main__')
    assert (folder / target).is_file()
    (folder / target).unlink()  # of another model than the next command's


def run(tool, words, folder, digits, scenes, monkeypatch):
    """Run a tool as its command says, on a reduced config, from weights of that config's model."""
    cfg = reduced(ROOT / words[0], digits, scenes)
    if tool == 'tools/test.py':
        weights = words[1] = str(folder / words[1])
    else:
        cfg.load_from = weights = str(folder / 'start.pth') if cfg.load_from else None
    if weights:
        save_weights(cfg, folder / weights)
    words[0] = str(write(cfg, folder))
    if '--amp' in words and 'roi_head' in cfg.model and not torch.cuda.is_available():
        words.remove('--amp')  # which mmcv's RoIAlign does not have on the CPU
    monkeypatch.setattr('sys.argv', [tool, *words, '--work-dir', str(folder / 'run'), '--skip-data-checks'])
    (train if tool == 'tools/train.py' else test).main()
    (log,) = (folder / 'run').glob('*/*.log')
    return log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize('lines', COMMANDS)
def test_command_runs(lines, digits, scenes, tmp_path, monkeypatch):
    for line in lines:
        tool, *words = one_process(line)
        if tool.startswith('tools/model_converters/'):
            convert(tool, words, tmp_path, monkeypatch)
        elif tool == 'tools/test.py':
            log = run(tool, words, tmp_path, digits, scenes, monkeypatch)
            assert re.search(r'accuracy/top5: [\d.]+|coco/segm_mAP: [\d.-]+', log), log[-3000:]
        else:
            log = run(tool, words, tmp_path, digits, scenes, monkeypatch)
            assert re.search(r'(Epoch\(train\) +\[1\]\[[12]/|Iter\(train\) \[1/1\]).* loss: [\d.]+', log), log[-3000:]
