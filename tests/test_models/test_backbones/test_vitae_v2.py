"""ViTAEv2: architectures, kinds of attention, and what is kept of the publication."""

import pytest
import torch
import torch.nn.functional as F

from vil_mm.models import (
    FullAttention,
    SlidingWindowAttention,
    VariedSizeWindowAttention,
    ViTAEv2,
    WindowAttention,
)
from vil_mm.models.backbones.vitae_v2_arch import ARCH_ZOO

VSA = 'vil_mm.VariedSizeWindowAttention'
SMALL = dict(
    ARCH_ZOO['vsa-small'],
    embed_dims=[8, 16, 16, 32],
    depths=[1, 1, 2, 1],
    num_heads=[1, 2, 2, 4],
    groups=[1, 2, 2, 4],
    branch_dims=[8, 8, 8, 8],
    hidden_dims=[8, 8, 8, 16],
    reduction_heads=[1, 2, 2, 4],
    reduction_groups=[1, 2, 2, 4],
)


def attentions(model):
    """The attentions of reduction cells and of blocks, by stage."""
    return [(stage.embed.attn, *(block.attn for block in stage.blocks)) for stage in model.stages]


def build(arch, **kwargs):
    with torch.device('meta'):
        return ViTAEv2(arch, **kwargs)


@pytest.mark.parametrize(
    'arch, types',
    [
        ('small', [WindowAttention, WindowAttention, FullAttention, FullAttention]),
        ('window-48m', [WindowAttention] * 4),
        ('vsa-base', [VariedSizeWindowAttention] * 4),
    ],
)
def test_kinds(arch, types):
    for stage, type_ in zip(attentions(build(arch)), types):
        reduction, *blocks = stage
        assert {type(attention) for attention in stage} == {type_}
        # windows are padded on both sides in the models without varied sizes, and have no bias
        if type_ is WindowAttention:
            assert all(a.padding == 'both' and a.relative_position_bias is None for a in stage)
        if type_ is FullAttention:
            assert reduction.skip_values and reduction.qkv.bias is None
            assert all(not a.skip_values and a.qkv.bias is not None for a in blocks)


def test_stochastic_depth_is_the_published_one():
    """A stage starts with the rate of the block whose index is the depth of the stage before, of that stage alone."""
    model = build('vsa-small', drop_path_rate=0.1)
    rates = [[block.drop_path.drop_prob for block in stage.blocks] for stage in model.stages]
    step = 0.1 / 13
    assert rates[0] == pytest.approx([0, step])
    assert rates[1] == pytest.approx([2 * step, 3 * step])
    assert rates[2] == pytest.approx([step * i for i in range(2, 10)])
    assert rates[3] == pytest.approx([8 * step, 9 * step])
    for stage in model.stages:
        for block in stage.blocks:
            assert block.ffn.dropout_layer.drop_prob == block.drop_path.drop_prob


def test_branches_drop_apart():
    model = ViTAEv2(SMALL, drop_path_rate=1.0).train()
    block = model.stages[3].blocks[0]
    assert 0 < block.drop_path.drop_prob < 1
    x = torch.randn(64, 4, 32)
    with torch.no_grad():
        block.ffn.layers[1].weight.zero_()
        block.ffn.layers[1].bias.zero_()
        change = block(x, (2, 2)) - x
        kept = (change.abs().amax((1, 2)) > 0).float().mean().item()
    # of the two branches, one at least is kept
    rate = block.drop_path.drop_prob
    assert kept == pytest.approx(1 - rate**2, abs=0.2)
    assert kept > 1 - rate + 0.1


def test_multiples_of_32_are_not_padded_and_others_at_each_stage():
    model = ViTAEv2(SMALL).eval()
    images = torch.randn(1, 3, 36, 52)
    maps = model(images)
    assert [tuple(x.shape[2:]) for x in maps] == [(9, 13), (5, 7), (3, 4), (2, 2)]
    torch.testing.assert_close(model(F.pad(images[..., :50], (0, 2))), model(F.pad(images[..., :50], (0, 2, 0, 0))))
    # zeros below and on the right
    padded = model(F.pad(images[:, :, :34, :50], (0, 2, 0, 2)))
    torch.testing.assert_close(model(images[:, :, :34, :50]), padded)


def test_any_image_of_the_published_detector():
    """Of images below 224 pixels its outputs are NaN: it divides by the number of whole windows."""
    model = ViTAEv2(SMALL, attn_cfg=dict(padding='both', swap_window_counts=True)).eval()
    assert all(x.isfinite().all() for x in model(torch.randn(1, 3, 64, 192)))


def test_attn_cfg():
    model = build('vsa-small', attn_cfg=dict(window_size=12, padding='both'))
    assert {(a.window_size, a.padding) for stage in attentions(model) for a in stage} == {(12, 'both')}
    model = build('small', attn_cfg=dict(window_size=8))
    assert [a.window_size for stage in attentions(model)[:2] for a in stage] == [8] * 6
    model = build('vsa-small', attn_cfg=[dict(window_size=14), None, None, dict(type='vil_mm.FullAttention')])
    found = attentions(model)
    assert [a.window_size for stage in found[:3] for a in stage] == [14] * 3 + [7] * 12
    assert {type(a) for a in found[3]} == {FullAttention}
    with pytest.raises(ValueError, match=r"attn_cfg sets \['num_heads'\], which arch decides"):
        build('small', attn_cfg=dict(type=VSA, num_heads=2))


@pytest.mark.parametrize('type_', ['SlidingWindowAttention', 'FullAttention', 'WindowAttention'])
def test_other_attentions(type_):
    model = ViTAEv2(SMALL, attn_cfg=dict(type=f'vil_mm.{type_}'))
    model.init_weights()
    maps = model(torch.randn(2, 3, 75, 61))
    sum(x.square().mean() for x in maps).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    if type_ == 'SlidingWindowAttention':
        assert isinstance(model.stages[0].embed.attn, SlidingWindowAttention)


def test_norms_of_reduction_cells_have_their_own_eps():
    model = ViTAEv2(SMALL)
    for stage in model.stages:
        assert stage.embed.norm1.eps == stage.embed.norm2.eps == 1e-5
        assert {block.norm1.eps for block in stage.blocks} == {block.norm2.eps for block in stage.blocks} == {1e-6}


def test_dropout_is_in_blocks_alone():
    model = build('vsa-small', drop_rate=0.1)
    for stage in model.stages:
        assert stage.embed.attn.proj_drop.p == 0
        assert all(block.attn.proj_drop.p == 0.1 for block in stage.blocks)


def test_mixed_precision():
    model = ViTAEv2(SMALL)
    model.init_weights()
    images = torch.randn(2, 3, 96, 64)
    with torch.autocast('cpu', torch.bfloat16):
        outputs = model(images)
        loss = sum(x.float().square().mean() for x in outputs)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    model.eval()
    with torch.no_grad():
        expected = model(images)
        with torch.autocast('cpu', torch.bfloat16):
            mixed = model(images)
    for got, wanted in zip(mixed, expected):
        assert (got - wanted).abs().mean() < 0.03 * wanted.abs().mean()


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(groups=[1, 3, 2, 4]), r"arch\['groups'\]=\[1, 3, 2, 4\] must divide arch\['embed_dims'\]"),
        (dict(reduction_groups=[1, 2, 4, 3]), r"arch\['reduction_groups'\]=\[1, 2, 4, 3\] must divide"),
        (dict(dilations=[[1], [1], [], [1]]), r"arch\['dilations'\]=\[\[1\], \[1\], \[\], \[1\]\] must have"),
        (dict(depths=[1, 0, 1, 1]), r"arch\['depths'\]=\[1, 0, 1, 1\] must be .* at least 1"),
        (dict(attn_cfgs=[{}] * 4), r"arch\['attn_cfgs'\]=.* with a registered type"),
        (dict(depths=[1, 1, 1]), r'one value per stage under each key, got lengths'),
    ],
)
def test_errors_of_arch(changes, message):
    with pytest.raises(ValueError, match=message):
        ViTAEv2(dict(SMALL, **changes))


def test_an_arch_has_four_stages():
    with pytest.raises(ValueError, match='arch has 3 stages, must have 4'):
        ViTAEv2({key: value[:3] for key, value in SMALL.items()})
