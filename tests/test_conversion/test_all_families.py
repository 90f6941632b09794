"""What the converters of all families do (what the converted models compute: see the goldens)."""

import pytest
import torch

from tests.test_conversion.published import tensors
from vil_mm.conversion import dwnet, l2vit, vil, vitae_v2

#: Golden case, and names that are not those of the family.
FAMILIES = {
    vil: (
        'vil/cls_tiny_rpe_160_mode1_eval',
        'a Vision Longformer',
        ['layer1.1.mlp.fc1.weight', 'layer2.0.pos_embed', 'layer2.0.norm.weight', 'blocks.0.attn.qkv.weight'],
    ),
    l2vit: (
        'l2vit/l2vit_tiny_cls_224',
        'an L2ViT',
        [
            'stages.0.0.cpe.2.proj.weight',
            'downsample_layers.4.norm.weight',
            'layers.0.weight',
            'stages.0.1.gamma',
            'ema.x',
        ],
    ),
    vitae_v2: (
        'vitaev2_vsa/vitaev2_vsa_s_cls_224',
        'a ViTAEv2',
        [
            'layers.0.RC.gamma1',
            'layers.1.NC.0.attn.pos_embed',
            'layers.0.NC.0.PRM.convs.0.0.weight',
            'layers.0.NC.0.attn.sampling_scales.2.scale',
            'norm.weight',
            'head.fc.bias',
        ],
    ),
    dwnet: (
        'dwnet/dynamic_dwnet_tiny_cls_224',
        'a DWNet',
        [
            'layers.0.blocks.0.attn2conv.conv3.weight',
            'layers.0.blocks.0.attn2conv.conv.conv2.scale',
            'layers.0.blocks.0.attn.qkv.weight',
            'absolute_pos_embed',
        ],
    ),
}
OTHER_PARTS = [
    'neck.fpn_convs.0.conv.weight',
    'roi_head.bbox_head.2.fc_cls.bias',
    'rpn_head.rpn_conv.weight',
    'bbox_head.retina_cls.weight',
    'decode_head.conv_seg.weight',
    'auxiliary_head.convs.0.bn.running_mean',
]


def label(value):
    return value.__name__.rpartition('.')[2] if hasattr(value, '__name__') else None


@pytest.mark.parametrize('family', FAMILIES, ids=label)
def test_classifiers(family):
    published = tensors(FAMILIES[family][0])
    converted, dropped = family.convert_state_dict(published)
    assert dropped.keys() <= published.keys()
    assert all(name.startswith(('backbone.', 'head.fc.')) for name in converted)
    assert converted['head.fc.bias'] is published['head.bias']
    parallel = {f'module.{name}': tensor for name, tensor in published.items()}
    again, left_out = family.convert_state_dict(parallel)
    assert again.keys() == converted.keys() and left_out == dropped


@pytest.mark.parametrize('family', FAMILIES, ids=label)
def test_detectors_and_segmenters(family):
    """The names of the other parts stay."""
    published = {name: tensor for name, tensor in tensors(FAMILIES[family][0]).items() if not name.startswith('head.')}
    others = {name: torch.zeros(1) for name in OTHER_PARTS}
    converted, _ = family.convert_state_dict(
        {**{f'backbone.{name}': tensor for name, tensor in published.items()}, **others}
    )
    assert converted.keys() == {*family.convert_state_dict(published)[0], *others}
    assert others.items() <= converted.items()


@pytest.mark.parametrize(
    'family, name', [(family, name) for family, (*_, names) in FAMILIES.items() for name in names], ids=label
)
@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_unknown_names_fail(family, name, prefix):
    case, kind, _ = FAMILIES[family]
    published = {prefix + old: tensor for old, tensor in tensors(case).items() if not old.startswith('head.')}
    with pytest.raises(ValueError, match=rf"1 of \d+ names are not those of {kind}: \['{prefix}{name}'\]"):
        family.convert_state_dict({**published, prefix + name: torch.zeros(1)})


@pytest.mark.parametrize('family', FAMILIES, ids=label)
@pytest.mark.parametrize('name', ['norm.weight', 'neck.convs.0.weight', 'module.norm.weight', 'head.fc.weight'])
def test_names_of_another_kind_of_file_fail(family, name):
    """A prefix counts only where all names have it, and other parts only beside a backbone's."""
    published = tensors(FAMILIES[family][0])
    if name == 'norm.weight':
        published = {f'backbone.{old}': tensor for old, tensor in published.items() if not old.startswith('head.')}
    with pytest.raises(ValueError, match=rf"\['{name}'\]"):
        family.convert_state_dict({**published, name: torch.zeros(1)})


@pytest.mark.parametrize('family', FAMILIES, ids=label)
def test_other_files_fail(family):
    with pytest.raises(ValueError, match=rf"1 of 1 names are not those of {FAMILIES[family][1]}: \['conv1.weight'\]"):
        family.convert_state_dict({'conv1.weight': torch.zeros(1)})
    with pytest.raises(ValueError, match=rf'0 of 0 names are not those of {FAMILIES[family][1]}'):
        family.convert_state_dict({})
