"""Every public argument with a wrong type, a wrong range and a wrong length: each error names the argument.

Classes and functions are found in the registries and on the pages of the reference, so that a new argument fails the
test until it has a row.
"""

import argparse
import importlib
import inspect
import re

import pytest
import torch
from mmengine.config import Config
from torch import nn

from tests.conftest import ROOT
from vil_mm.models import DWNet
from vil_mm.models.base import BaseBlock, Stage
from vil_mm.models.layers import BaseEmbedding
from vil_mm.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS
from vil_mm.timm import Classifier

REGISTRIES = (DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, OPTIM_WRAPPERS)
#: Modules on the pages whose functions get what others have checked, or the contents of files, which have their own
#: tests.
INNER = re.compile(
    r'vil_mm\.(collect_env|apis\.names|arguments|registry|conversion|datasets\.checks\.(?!loaders)'
    r'|engine\.(checkpoint|checks\.|digest|fetching|fitting|other_model|pictures|published|randomness|resuming|sharding|work_dir)'
    r'|models\.layers\.loading|ops\.(backends|choice|reference|self_check|strips)|models\.backbones\.\w+_arch)'
)

NORM, FULL = dict(type='LN'), dict(type='vil_mm.FullAttention')
EMBED, BLOCK = BaseEmbedding(8, 4), BaseBlock(embed_dims=8, norm_cfg=NORM)
ARCH = dict(embed_dims=[8], depths=[1], num_heads=[2])
CFG = Config(dict(model=dict(type='ImageClassifier')))


class Row:
    """An allowed value of an argument, a wrong type, a wrong range and a wrong length."""

    def __init__(self, allowed, *wrong):
        self.allowed, self.wrong = allowed, wrong


def choice(allowed):
    return Row(allowed, 5, 'other', [allowed])


def tensor(*shape):
    """A tensor; of another type, with a dimension too many, and with one too few."""
    allowed = torch.zeros(shape)
    return Row(allowed, allowed.tolist(), allowed[None], allowed[0])


FLAG = Row(True, 'yes', 2, [True])
SIZE = Row(8, '8', 0, (8, 8))
COUNT = Row(1, '1', -1, (1, 1))
PAIR = Row((3, 4), 'ab', (0, 4), (3, 4, 5))
RATE = Row(0.5, 'half', 1.5, (0.5, 0.5))
TEXT = Row('text', 5, '', ['text'])
MODULE = Row(nn.Identity(), 'conv', None, [nn.Identity()])
CONFIG = Row(CFG, 'config.py', None, [CFG])
CHANGES = Row([None, dict(qkv_bias=False), None, None], 'vil_mm.FullAttention', [5], [None])
#: By argument, or by owner and argument.
ROWS = {
    'absolute_position': FLAG,
    'allow_partial': Row(['head'], 'head', [''], [['head']]),
    'ann_file': Row(str(ROOT / 'tests/data/real.json'), 5, 'missing.json', ['real.json']),
    'arch': Row('nano', 5, 'huge', dict(embed_dims=[8])),
    'argument': TEXT,
    'arch_settings.arch': Row(ARCH, 5, dict(ARCH, depths=[0]), dict(ARCH, depths=[1, 1])),
    'arch_zoo': Row(dict(tiny=ARCH), 'tiny', {}, [ARCH]),
    'attn': MODULE,
    'attn_cfg': CHANGES,
    'attn_cfgs': Row([FULL], FULL, [dict(type='Nope')], [FULL, FULL]),
    'attn_drop': RATE,
    'backbone': Row(DWNet, 'vil_mm.DWNet', nn.Identity, [DWNet]),
    'backend': choice('reference'),
    'before': Row((0, 1), 0, (-1, 0), (0,)),
    'bias': FLAG,
    'attend.bias': tensor(1, 2, 12, 12),
    'depthwise_conv2d.bias': tensor(8),
    'linear.bias': tensor(4),
    'bias_table': tensor(961, 2),
    'blocks': Row([BLOCK], BLOCK, [nn.Identity()], [[BLOCK]]),
    'cfg': CONFIG,
    'cfg_options': Row({}, 'a=1', 5, ['a=1']),
    'changes': Row(None, 'vil_mm.FullAttention', [5], [None, None]),
    'channels': SIZE,
    'class_map': Row(['cat'], 5, '', []),
    'classes': Row(['cat', 'dog'], 5, '', ['cat', '']),
    'columns': tensor(4, 2, 3),
    'conv_type': choice('static'),
    'cutoff': RATE,
    'data_root': TEXT,
    'depths': Row([1, 2], 3, [0, 1], [[1]]),
    'device': Row(None, 5.5, True, ['cpu']),
    'divisor': SIZE,
    'BaseBlock.drop_path_rate': Row(0.5, 'half', 1.0, (0.5, 0.5)),
    'drop_path_rate': RATE,
    'drop_rate': RATE,
    'dropout_p': RATE,
    'dtype': Row(None, 'half', 16, [torch.float32]),
    'embed': Row(EMBED, 'embed', None, [EMBED]),
    'embed_dims': SIZE,
    'first': COUNT,
    'fit': choice('crop'),
    'folder': Row('folder', 5, None, ['folder']),
    'frozen_stages': Row(0, '0', -2, (0, 1)),
    'global_attn_cfg': CHANGES,
    'global_bias': tensor(2, 0),
    'global_pool': choice('avg'),
    'grid_size': PAIR,
    'grids': Row([(3, 4)], 3, [(0, 4)], [(3, 4, 5)]),
    'growth': COUNT,
    'head': TEXT,
    'hidden_dims': SIZE,
    'hints': Row({}, 5, None, ['embed_dims']),
    'hw_shape': PAIR,
    'img_size': Row((64, 64), '64', 0, (64, 64, 3)),
    'in_channels': SIZE,
    'in_chans': SIZE,
    'in_dims': SIZE,
    'init_cfg': Row(None, 'Normal', dict(type='Nope'), [5]),
    'inputs': Row((torch.zeros(2),), 5, 'x', ()),
    'k': tensor(1, 2, 12, 4),
    'kernel_size': Row(3, '3', 2, (3, 3)),
    'kind': Row('vil_mm.ViL', 5, [], ['vil_mm.ViL']),
    'known': Row(['text'], 5, [5], [['text']]),
    'launcher': choice('none'),
    'length': SIZE,
    'loaders': Row([], 'train_dataloader', [''], [[]]),
    'main': Row(print, 'main', None, [print]),
    'mask': choice('block'),
    'metainfo': Row(None, 'cat', [], ['cat']),
    'min_denominator': Row(1.0, '1', 0, (1.0, 1.0)),
    'model': MODULE,
    # its model is not used, because the folder is wrong
    'save_pretrained.model': Row(object.__new__(Classifier), 'model', None, [nn.Identity()]),
    'module': MODULE,
    'name': TEXT,
    'neighbors': Row('all', 1.0, 9, [1, 2]),
    'norm': MODULE,
    'norm_cfg': Row(NORM, 'LN', dict(type='Nope'), [NORM]),
    'norm_eval': FLAG,
    'Classifier.num_classes': COUNT,
    'num_classes': SIZE,
    'num_features': SIZE,
    'num_global_tokens': COUNT,
    'num_groups': SIZE,
    'RelativePositionBias.num_heads': SIZE,
    'num_heads': Row(2, '2', 3, (2, 2)),
    'only_global': Row(False, 'yes', 2, [True]),
    'options': Row({}, 'a=1', None, ['a=1']),
    'out_channels': SIZE,
    'out_dir': TEXT,
    'out_indices': Row([0], 'last', [4], []),
    'out_type': choice('featmap'),
    'output_norm': choice('each'),
    'own_type': TEXT,
    'pad_size_divisor': SIZE,
    'padding': choice('both'),
    'parser': Row(argparse.ArgumentParser(), 'parser', None, [argparse.ArgumentParser()]),
    'partial_patches': choice('pad'),
    'patch_size': SIZE,
    'path': TEXT,
    'pipeline': Row([], 'LoadImage', [5], [[]]),
    'position_fit': choice('crop'),
    'positions': tensor(1, 5, 8),
    'prefix': Row('', 5, None, ['']),
    'proj_drop': RATE,
    'proj_drop_rate': RATE,
    'q': tensor(1, 2, 12, 4),
    'qkv_bias': FLAG,
    'rate': RATE,
    'reduction_ratio': SIZE,
    'registry': Row(MODELS, 'model', None, [MODELS]),
    'relative_position_bias': FLAG,
    'resize_bias': FLAG,
    'round_up': FLAG,
    'rows': tensor(4, 2, 3),
    'scale': Row(0.5, torch.tensor(0.5, requires_grad=True), float('nan'), (0.5, 0.5)),
    'scope': Row(None, 5, '', ['mmdet']),
    'shape': PAIR,
    'share_global_proj': FLAG,
    'share_kv': FLAG,
    'size': SIZE,
    'skip_bad': FLAG,
    'skip_values': FLAG,
    'source': Row('folder', 5, None, ['folder']),
    'split': TEXT,
    'stabilizer': choice('image'),
    'stages': Row([Stage(EMBED, [BLOCK])], BLOCK, [BLOCK], []),
    'starts': Row([0, 1], 0, [-1, 0], [0]),
    'state_dict': Row({}, 'state', None, [{}]),
    'stride': SIZE,
    'strides': Row([4, 2], 4, [0, 2], [[4]]),
    'swap_window_counts': FLAG,
    'switch_ratio': RATE,
    'table': tensor(5, 7, 2),
    'table_shape': PAIR,
    'tokens': tensor(1, 12, 8),
    'topk': Row(1, '1', 0, [[1]]),
    'training': FLAG,
    'v': tensor(1, 2, 12, 4),
    'values': tensor(1, 12, 2, 8),
    'inhomogeneous_conv2d.weight': tensor(1, 4, 3, 3, 3, 4),
    'linear.weight': tensor(4, 8),
    'weight': Row(torch.zeros(8, 3, 3), [[[0.0]]], torch.zeros(8, 4, 4), torch.zeros(3, 3)),
    'window_size': SIZE,
    'windows': tensor(1, 64, 8),
    'with_cp': choice('ffn'),
    'work_dir': TEXT,
    'x': tensor(1, 8, 3, 4),
    'cut_windows.x': tensor(1, 8, 16, 8),
    **dict.fromkeys(
        ('DynamicDepthwiseConv.norm_cfg', 'InhomogeneousDepthwiseConv.norm_cfg', 'build_map_norm.norm_cfg'),
        Row(dict(type='BN'), 'BN', dict(type='Nope'), [NORM]),
    ),
    'linear.x': Row(torch.zeros(3, 8), [[0.0]], torch.tensor(0.0), 'xy'),
    'to_grid.x': tensor(1, 12, 8),
    'to_map.x': tensor(1, 12, 8),
}
#: What an allowed call needs beside the required arguments, or does not take long with.
MORE = {
    'AttentionFactory': dict(argument='changes'),
    'Classifier': dict(arch='nano'),
    'DWNet': dict(arch='nano'),
    'L2ViT': dict(arch='nano'),
    'LinformerAttention': dict(grid_size=(3, 4)),
    'SwinVSA': dict(arch='nano'),
    'ViL': dict(arch='nano'),
    'ViTAEv2': dict(arch='vsa-nano'),
}
#: Allowed calls of these need files, a whole config or model, or a parser of their own.
NOT_CALLED = {
    'ImageNetReaL',
    'SharedFile',
    'ZipArchive',
    'ZipDataset',
    'add_override_argument',
    'build_runner',
    'check_config',
    'check_data',
    'count_published_macs',
    'enable_amp',
    'enable_auto_scale_lr',
    'enable_tta',
    'from_pretrained',
    'image_size',
    'load_config',
    'save_pretrained',
}


def documented():
    """What the pages of the reference document: pairs of a name and a class or function."""
    pages = '\n'.join(page.read_text() for page in sorted((ROOT / 'docs/reference/api').glob('*.md')))
    for name, imported in re.findall(r'automodule:: (\S+)\n( *:imported-members:)?', pages):
        module = importlib.import_module(name)
        for key, one in vars(module).items():
            home = getattr(one, '__module__', '')
            if key[0] != '_' and (home == name or (imported and home.startswith('vil_mm.'))) and not INNER.match(home):
                yield key, one


def registered():
    """What configs can name: pairs of a name and a class or function."""
    for one in REGISTRIES:
        one.import_from_location()
        yield from ((kind.__name__, kind) for kind in one.module_dict.values() if kind.__module__.startswith('vil_mm.'))


def own_arguments(owner):
    """Those that a class or function does not pass on as ``**kwargs``."""
    if inspect.isclass(owner) and '__init__' not in vars(owner):
        return []
    parameters = inspect.signature(owner).parameters.values()
    return [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


OWNERS = {
    key: one
    for key, one in [*documented(), *registered()]
    if (inspect.isclass(one) or inspect.isfunction(one)) and own_arguments(one)
}


def row_of(key, name):
    return ROWS.get(f'{key}.{name}') or ROWS[name]


def allowed_arguments(key):
    required = [p.name for p in own_arguments(OWNERS[key]) if p.default is p.empty]
    return {name: row_of(key, name).allowed for name in required} | MORE.get(key, {})


@pytest.mark.parametrize('key', OWNERS)
def test_allowed(key):
    """So that wrong values are refused for what they are."""
    if key not in NOT_CALLED:
        OWNERS[key](**allowed_arguments(key))


@pytest.mark.parametrize('key, name', [(key, p.name) for key, owner in OWNERS.items() for p in own_arguments(owner)])
def test_wrong(key, name):
    wrong = row_of(key, name).wrong
    assert len(wrong) == 3
    for value in wrong:
        with pytest.raises((TypeError, ValueError, OSError), match=rf'(^|[^\w.]){name}(\[\S*\])?(=| has | is | must )'):
            OWNERS[key](**{**allowed_arguments(key), name: value})
