"""Renaming by tables of rules."""

import pytest
import torch

from vil_mm.conversion.renaming import concatenate, convert_model, rename, rename_all

RULES = {
    'norm': 'norm1',
    'mlp.(fc[12])': r'ffn.\1',
    'cls_token': 'global_tokens',
    r'layer(\d+).': (lambda match: f'stages.{int(match[1]) - 1}.', {'conv': 'projection'}),
    r'layer(\d+).bn': r'norm\1',
}


@pytest.mark.parametrize(
    'name, expected',
    [
        ('norm.weight', 'norm1.weight'),
        ('norm.running_var', 'norm1.running_var'),
        ('mlp.fc2.bias', 'ffn.fc2.bias'),
        ('cls_token', 'global_tokens'),
        ('layer3.conv.weight', 'stages.2.projection.weight'),
        ('layer3.bn.weight', 'norm3.weight'),  # not among the rules for the rest of a name, so the next rule counts
        ('norm.scale', None),
        ('a.norm.weight', None),
        ('norm.weight.weight', None),
        ('mlpxfc2.bias', None),
        ('layer3.conv.conv.weight', None),
    ],
)
def test_rename(name, expected):
    assert rename(name, RULES) == expected


def test_tensors_are_left_out_and_changed():
    published = {name: torch.full((2,), float(i)) for i, name in enumerate(('norm.weight', 'norm.bias', 'a.index'))}
    converted, dropped = rename_all(
        published, RULES, 'a model', left_out={r'\w+.index': 'derived'}, changes={r'norm\d.bias': torch.neg}
    )
    assert dropped == {'a.index': 'derived'}
    assert {name: tensor.tolist() for name, tensor in converted.items()} == {
        'norm1.weight': [0, 0],
        'norm1.bias': [-1, -1],
    }
    with pytest.raises(ValueError, match=r"1 of 4 names are not those of a model: \['a.b'\]"):
        rename_all({**published, 'a.b': torch.zeros(1)}, RULES, 'a model', left_out={'a.index': 'derived'})
    with pytest.raises(ValueError, match=r"'layer1.bn.bias' becomes 'norm1.bias', as another of the 4 names does"):
        rename_all({**published, 'layer1.bn.bias': torch.zeros(1)}, RULES, 'a model', left_out={'a.index': 'derived'})
    with pytest.raises(ValueError, match='0 of 0 names are not those of a model'):
        rename_all({}, RULES, 'a model')


def test_the_head_of_a_model_of_openmmlab_is_kept():
    """As in a file of mmpretrain."""
    names = ['backbone.norm.weight', 'head.fc.weight']
    converted, _ = convert_model(dict.fromkeys(names, torch.zeros(1)), RULES, 'a model')
    assert [*converted] == ['backbone.norm1.weight', 'head.fc.weight']
    for name in ('head.weight', 'norm.bias', 'backbone.head.weight', 'backbone.neck.weight'):
        with pytest.raises(ValueError, match=rf"1 of 3 names .*\['{name}'\]"):
            convert_model(dict.fromkeys([*names, name], torch.zeros(1)), RULES, 'a model')


def test_concatenate():
    parts = {
        f'a.{part}.{kind}': torch.tensor([value]) for value, part in enumerate('qk') for kind in ('weight', 'bias')
    }
    reverse = dict(reversed(parts.items()))
    other = {'b.q.weight': torch.tensor([5]), 'q.weight': torch.tensor([6])}
    for published in (parts, reverse):
        tensors = concatenate({**published, **other}, ['q', 'k'], 'qk')
        assert tensors.pop('a.qk.weight').tolist() == tensors.pop('a.qk.bias').tolist() == [0, 1]
        assert tensors == other
