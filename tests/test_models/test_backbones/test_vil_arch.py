"""Architectures: the zoo against the published parameter counts, and the arch strings."""

import argparse
import copy
import json
from pathlib import Path

import pytest
from mmengine.config import DictAction

from vil_mm.models import LinformerAttention, ViL
from vil_mm.models.backbones.vil_arch import ARCH_ZOO, join_arch, parse_arch_string, resolve_arch

PARAMETERS = json.loads((Path(__file__).parents[2] / 'data' / 'vil_params.json').read_text())
SMALL = (
    'l1,h3,d96,n1,s1,g1,p4,f7,a0_l2,h3,d192,n2,s1,g1,p2,f7,a0_'
    'l3,h6,d384,n8,s0,g1,p2,f7,a0_l4,h12,d768,n1,s0,g0,p2,f7,a0'
)


def count_parameters(arch, absolute, img_size=224, num_classes=1000):
    model = ViL(arch, img_size=img_size, absolute_position=absolute or None)
    head = num_classes * (model.stages[-1].embed.embed_dims + 1)
    return sum(p.numel() for p in model.parameters()) + head


@pytest.mark.parametrize(
    'row', [row for row in PARAMETERS if row['attention'] == 'longformerhand' and 'global' not in row['row']]
)
def test_published_parameter_counts(row):
    """Every published ViL, by its arch string."""
    assert count_parameters(row['arch'], None, row['image_size']) == row['parameters']


@pytest.mark.parametrize(
    'arch, absolute, row, img_size',
    [
        ('tiny', True, 'ViL-Tiny APE', 224),
        ('tiny', False, 'ViL-Tiny RPE', 224),
        ('small', True, 'ViL-Small APE', 224),
        ('small', False, 'ViL-Small RPE', 224),
        ('medium-deep', True, 'ViL-Medium-Deep APE', 224),
        ('medium-deep', False, 'ViL-Medium-Deep RPE', 224),
        ('medium-wide', True, 'ViL-Medium-Wide APE', 224),
        ('base-deep', True, 'ViL-Base-Deep APE 384 (f6,f8)', 384),
        ('base-wide', True, 'ViL-Base-Wide APE 384 (f8,f8)', 384),
        ('swin-tiny', False, 'ViL-Swin-Tiny (arch inferred)', 224),
        ('swin-small', False, 'ViL-Swin-Small (arch inferred)', 224),
    ],
)
def test_arch_zoo_parameter_counts(arch, absolute, row, img_size):
    """Every name of the zoo; with absolute positions the windows of the row do not count."""
    expected = {row['row']: row['parameters'] for row in PARAMETERS}[row]
    assert count_parameters(arch, absolute, img_size) == expected


def test_arch_string_is_the_named_arch():
    assert parse_arch_string(SMALL) == ARCH_ZOO['small']


def test_arch_string_defaults_and_sticky_full_attention():
    settings = parse_arch_string('l1,s0_l2,s1,f5_l3,g0,a0')
    assert settings['embed_dims'] == [192] * 3
    assert settings['num_heads'] == [3] * 3
    assert settings['depths'] == [1] * 3
    assert settings['patch_sizes'] == [2] * 3
    assert settings['num_global_tokens'] == [1, 1, 0]
    assert settings['absolute_position'] == [True, True, False]
    assert [cfg['type'] for cfg in settings['attn_cfgs']] == ['vil_mm.FullAttention'] * 3


def test_arch_string_keeps_its_meaning_under_every_mechanism():
    """``f`` is a setting of the mechanism, and stages with ``s0``, and all after them, have full attention."""
    arch = 'l1,h2,d8,p4,f3_l2,h2,d8,f5_l3,h2,d8,s0,f7_l4,h2,d8,f9'

    def attentions(attn_cfg, arch=arch):
        return [stage.blocks[0].attn for stage in ViL(arch, img_size=64, attn_cfg=attn_cfg).stages]

    for name, setting in (
        ('SlidingWindowAttention', 'window_size'),
        ('WindowAttention', 'window_size'),
        ('LinformerAttention', 'num_features'),
        ('PerformerAttention', 'num_features'),
        ('SpatialReductionAttention', 'reduction_ratio'),
    ):
        first, second, *others = attentions(dict(type=f'vil_mm.{name}'))
        assert [type(first).__name__, getattr(first, setting), getattr(second, setting)] == [name, 3, 5]
        assert [type(other).__name__ for other in others] == ['FullAttention'] * 2
        # what attn_cfg sets itself takes precedence, and so does a stage that it names
        first, *_, last = attentions([dict({'type': f'vil_mm.{name}', setting: 4}), *[dict(type=f'vil_mm.{name}')] * 3])
        assert [type(last).__name__, getattr(first, setting), getattr(last, setting)] == [name, 4, 9]
    assert [attn.num_features for attn in attentions(dict(type=LinformerAttention))[:2]] == [3, 5]
    assert {type(attn).__name__ for attn in attentions(dict(type='vil_mm.FullAttention'))} == {'FullAttention'}
    with pytest.raises(ValueError, match=r'attn_cfg=.* has no effect: all stages .* have s0'):
        attentions(dict(type='vil_mm.LinformerAttention'), arch.replace('l1', 'l1,s0'))
    with pytest.raises(ValueError, match='must be a dict, or have one entry per stage, 4'):
        attentions([dict(type='vil_mm.LinformerAttention')])


def test_arch_string_from_the_command_line():
    """mmengine's ``DictAction`` splits it at the commas."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    arch = parser.parse_args(['--cfg-options', f'model.backbone.arch={SMALL}']).cfg_options['model.backbone.arch']
    assert isinstance(arch, list) and join_arch(arch) == SMALL
    for given in (arch, tuple(arch)):
        assert ViL(given).state_dict().keys() == ViL('small').state_dict().keys()
    with pytest.raises(ValueError, match="arch field 'w7' in stage 4"):
        ViL([*arch, 'w7'])


@pytest.mark.parametrize(
    'arch, message',
    [
        ('huge', r"arch='huge' is not one of .*'tiny'"),
        ('l1,d96_l2', r'has 2 stage\(s\), must have 3 or 4'),
        ('l1,dx_l2_l3', r"arch field 'dx' in stage 1"),
        ('l1_l2,w7_l3', r"arch field 'w7' in stage 2"),
        ('l1_l2,_l3', r"arch field '' in stage 2"),
        ('l1_l2_l4,d8', r"arch stage 3 \('l4,d8'\) must say l3"),
        ('d96,l1_h2_l3', r"arch stage 2 \('h2'\) must say l2"),
        ('l1,d96,d48_l2_l3', r"arch field 'd48' in stage 1 .* is given twice"),
        ('l1,s2_l2_l3', r"arch field 's2' .* must be s0 or s1"),
        ('l1,n0_l2_l3', r"arch field 'n0' .* must be at least n1"),
        ('l1,g-1_l2_l3', r"arch field 'g-1' in stage 1"),
        (None, r'arch=None must be a string or a dict'),
        (dict(embed_dims=[1]), r'must have exactly'),
        ({**ARCH_ZOO['tiny'], 'patch_sizes': [4, 2, 2, 0]}, r"arch\['patch_sizes'\]=.* must be .* at least 1"),
        ({**ARCH_ZOO['tiny'], 'attn_cfgs': ['s1'] * 4}, r"arch\['attn_cfgs'\]=.* must be"),
        ({**ARCH_ZOO['tiny'], 'depths': [1]}, r'one value per stage'),
    ],
)
def test_malformed(arch, message):
    with pytest.raises((TypeError, ValueError), match=message):
        resolve_arch(arch)


def test_building_leaves_the_zoo_alone():
    before = copy.deepcopy(ARCH_ZOO)
    ViL('tiny', attn_cfg=dict(window_size=3))
    assert before == ARCH_ZOO
