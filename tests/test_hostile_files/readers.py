"""What reads checkpoint files: each returns the tensors that it has taken from a file, under our names."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import BaseLoop
from mmpretrain import get_model
from torch import Tensor

import vil_mm.apis  # noqa: F401  (which lets get_model check what it loads)
from tests import goldens
from tests.test_engine import tiny
from vil_mm.conversion import dwnet, l2vit, swin, vil, vitae_v2
from vil_mm.conversion.files import convert_file
from vil_mm.conversion.renaming import BACKBONE, rename
from vil_mm.engine import CheckParametersHook, launch
from vil_mm.engine.checkpoint import read_checkpoint, state_dict_of
from vil_mm.models.backbones.vil_arch import FULL, SLIDING_WINDOW
from vil_mm.models.backbones.vitae_v2_arch import VARIED_SIZE

DIMS = [8, 16, 32, 64]
WINDOW = dict(VARIED_SIZE, window_size=2)
BACKBONES = {
    'vil': dict(
        type='vil_mm.ViL',
        img_size=64,
        arch=dict(
            embed_dims=DIMS,
            depths=[1] * 4,
            num_heads=[1, 1, 2, 4],
            num_global_tokens=[1, 1, 1, 0],
            patch_sizes=[4, 2, 2, 2],
            attn_cfgs=[dict(SLIDING_WINDOW, window_size=2)] * 2 + [FULL] * 2,
            absolute_position=[False] * 4,
        ),
    ),
    'l2vit': dict(type='vil_mm.L2ViT', arch=dict(embed_dims=DIMS, depths=[2] * 4, num_heads=[1, 1, 2, 4])),
    'vitae_v2': dict(
        type='vil_mm.ViTAEv2',
        arch=dict(
            embed_dims=DIMS,
            depths=[1] * 4,
            num_heads=[1, 1, 2, 4],
            groups=[1] * 4,
            attn_cfgs=[WINDOW] * 4,
            branch_dims=[8, 8, 16, 32],
            hidden_dims=[8, 8, 16, 32],
            reduction_heads=[1, 1, 2, 4],
            reduction_groups=[1] * 4,
            reduction_attn_cfgs=[WINDOW] * 4,
            dilations=[[1, 2]] * 4,
            position_encoding=[True] * 4,
        ),
    ),
    'dwnet': dict(type='vil_mm.DWNet', arch=dict(embed_dims=DIMS, depths=[1] * 4)),
    'swin_vsa': dict(
        type='vil_mm.SwinVSA', window_size=2, arch=dict(embed_dims=DIMS, depths=[1] * 4, num_heads=[1, 1, 2, 4])
    ),
}
CLASSIFIERS = {
    family: dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(backbone, out_indices=(3,), out_type='avg_featmap'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=4, in_channels=DIMS[-1]),
    )
    for family, backbone in BACKBONES.items()
}

Read = Callable[[Path], Mapping[str, Tensor]]


def fill(model: torch.nn.Module) -> dict[str, Tensor]:
    """Give all tensors values that every floating-point type can hold."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            is_added = any(part in name for part in ('attn.predict', 'position_encoding')) and 'SwinVSA' in str(model)
            tensor.copy_(torch.zeros(()) if is_added else torch.randint(1, 17, tensor.shape) / 16)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def build(family: str) -> torch.nn.Module:
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(CLASSIFIERS[family])


def by_golden(case: str, rules: Mapping, *whole: tuple[str, str]) -> dict[str, str]:
    """The published names of our tensors: those of a golden, with the parts of a tensor replaced by their whole."""
    names = [name for name, *_ in json.loads((goldens.FOLDER / f'{case}.json').read_text())['state']]
    for part, one in whole:
        names = [name.replace(part, one) for name in names]
    return {rename(name, {'head': 'head.fc', '': (BACKBONE, rules)}): name for name in names}


def of_swin(state: Mapping[str, Tensor]) -> dict[str, str]:
    """The official names of a Swin Transformer's tensors, which lacks some."""
    names = {}
    for name in state:
        if 'attn.predict' not in name and 'position_encoding' not in name:
            own = name.removeprefix(BACKBONE).replace('head.fc.', 'head.').replace('stages.0.embed.projection', 'stem')
            for old, new in (
                ('stages.0.embed.norm', 'patch_embed.norm'),
                ('stem', 'patch_embed.proj'),
                ('ffn.layers.0.0', 'mlp.fc1'),
                ('ffn.layers.1', 'mlp.fc2'),
                ('bias.table', 'bias_table'),
                ('stages', 'layers'),
            ):
                own = own.replace(old, new)
            for i in (1, 2, 3):
                own = own.replace(f'layers.{i}.embed', f'layers.{i - 1}.downsample')
            names[name] = own
    return names


#: The module of each converter, the key that its files have the tensors under, and our names in published words.
CONVERTERS = {
    'vil': (vil, 'net', by_golden('vil/cls_tiny_rpe_160_mode1_eval', vil.NAMES, ('.query.', '.qkv.'))),
    'l2vit': (l2vit, 'model', by_golden('l2vit/l2vit_tiny_cls_224', l2vit.NAMES)),
    'vitae_v2': (
        vitae_v2,
        'state_dict',
        by_golden('vitaev2_vsa/vitaev2_vsa_s_cls_224', vitae_v2.NAMES, ('sampling_offsets.2', 'predict')),
    ),
    'dwnet': (dwnet, 'model', by_golden('dwnet/dwnet_tiny_cls_224', dwnet.NAMES)),
    'swin_vsa': (swin, 'model', None),
}


def make_converter(family: str, folder: Path) -> tuple[dict, str, dict[str, Tensor], Read]:
    """A published file's content, the key of its tensors, our tensors, and the converter."""
    module, key, names = CONVERTERS[family]
    own = fill(build(family))
    names = names or of_swin(own)
    published = {}
    for name, tensor in own.items():
        if name in names:
            published[names[name]] = (
                tensor.flatten(0, 1) if name.endswith('bias.table') and tensor.ndim == 3 else tensor
            )
    config, target = folder / 'config.py', folder / 'converted.pth'
    config.write_text(f'default_scope = "mmpretrain"\nmodel = {CLASSIFIERS[family]!r}\n')

    def convert(path: Path) -> Mapping[str, Tensor]:
        target.unlink(missing_ok=True)
        before = set(folder.iterdir())
        try:
            convert_file(path, target, module.convert_state_dict, [key], family, family, config=str(config))
        except ValueError:
            assert set(folder.iterdir()) == before, 'nothing is written'
            raise
        return read_checkpoint(target)['state_dict']

    return {key: published, 'epoch': 3, 'arch': 'a'}, key, own, convert


def make_runner(work_dir: Path):
    """A runner of the classifier, ready to train."""
    runner = launch.build_runner(tiny.config(work_dir, model=CLASSIFIERS['vil'], default_scope='mmpretrain'))
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers) or []
    return runner


class Loop(BaseLoop):
    """A test of no images."""

    def __init__(self) -> None:
        self.dataloader = SimpleNamespace(dataset=SimpleNamespace(metainfo={}))

    def run(self) -> None:
        pass


def reset(model: torch.nn.Module) -> None:
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.fill_(7)


def make_readers(folder: Path) -> tuple[dict, dict[str, Tensor], dict[str, Read]]:
    """A run's checkpoint, its tensors, and what reads such files."""
    runner = make_runner(folder / 'run')
    own = fill(runner.model)
    runner.save_checkpoint(str(folder), 'base.pth', save_param_scheduler=True)
    base = read_checkpoint(folder / 'base.pth')
    (check,) = [hook for hook in runner.hooks if isinstance(hook, CheckParametersHook)]
    cfg = Config(dict(default_scope='mmpretrain', model=CLASSIFIERS['vil']))

    def read(path: Path) -> Mapping[str, Tensor]:
        return state_dict_of(read_checkpoint(path), path)

    def test(path: Path) -> Mapping[str, Tensor]:
        reset(runner.model)
        runner._load_from, runner._resume, runner._test_loop = str(path), False, Loop()
        try:
            runner.load_checkpoint(str(path))
            check.before_test(runner)
        finally:
            runner._test_loop = None
        return runner.model.state_dict()

    def resume(path: Path) -> Mapping[str, Tensor]:
        reset(runner.model)
        runner._load_from, runner._resume = str(path), True
        runner.resume(str(path))
        return runner.model.state_dict()

    def infer(path: Path) -> Mapping[str, Tensor]:
        return get_model(cfg, pretrained=str(path)).state_dict()

    return base, own, dict(reader=read, test=test, resume=resume, inferencer=infer)
