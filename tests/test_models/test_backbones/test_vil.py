"""ViL as a backbone: sizes, outputs, freezing, checkpointing, random shift, loading, errors."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn.bricks import DropPath
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import load_state_dict
from torch import nn

from vil_mm.models import SlidingWindowAttention, ViL

# Small, yet with all mechanisms: two windows, full attention, global tokens in all stages but the last.
ARCH = 'l1,h1,d8,n1,s1,g1,p4,f3,a0_l2,h2,d16,n2,s1,g2,p2,f2,a0_l3,h2,d16,n2,s0,g1,p2,f7,a0_l4,h4,d32,n1,s0,g0,p2,f7,a0'
SPARSE = ARCH.replace('s0', 's1')
SLIDING = dict(type='vil_mm.SlidingWindowAttention', window_size=3)


def build(**kwargs):
    model = ViL(**{**dict(arch=ARCH, img_size=64, drop_path_rate=0.0), **kwargs})
    model.init_weights()
    return model


@pytest.mark.parametrize(
    'variant',
    [
        dict(arch=SPARSE, attn_cfg=SLIDING),
        dict(absolute_position=True),
        dict(arch=SPARSE, absolute_position=True, relative_position_bias=True, attn_cfg=SLIDING),
        dict(attn_cfg=[None, None, dict(resize_bias=True), dict(resize_bias=True)]),
        dict(arch=SPARSE, attn_cfg=dict(SLIDING, share_global_proj=False, mask='exact')),
        dict(arch=SPARSE, attn_cfg=dict(SLIDING, mask='cyclic')),
    ],
    ids=str,
)
@pytest.mark.parametrize('size', [(64, 64), (157, 211), (33, 47), (16, 200), (5, 4)])
def test_any_size(variant, size):
    model = build(**variant)
    outputs = model(torch.randn(2, 3, *size))
    assert [x.shape[1] for x in outputs] == [8, 16, 16, 32]
    h, w = size
    for x, patch_size in zip(outputs, (4, 2, 2, 2)):
        h, w = -(-h // patch_size), -(-w // patch_size)
        assert x.shape[2:] == (h, w)
        assert x.isfinite().all()
    sum(x.square().mean() for x in outputs).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_every_parameter_has_a_gradient():
    model = build()
    sum(x.square().mean() for x in model(torch.randn(2, 3, 64, 64))).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0}
    # The global tokens are dropped after the last block of a stage, so what only they read cannot learn there.
    last_blocks = [f'stages.{i}.blocks.{depth - 1}' for i, depth in enumerate(model.depths[:3])]
    assert without == {f'{block}.attn.relative_position_bias.global_global' for block in last_blocks}


def test_output_types():
    x = torch.randn(2, 3, 64, 64)
    arch = ARCH.replace('g0', 'g2')
    featmap = build(arch=arch, out_indices=(3,))
    tokens = {}
    featmap.norm.register_forward_hook(lambda module, args, output: tokens.update(last=output))
    (expected,) = featmap(x)
    assert torch.equal(expected.flatten(2).mT, tokens['last'][:, 2:])
    for out_type, pooled in (('avg_featmap', tokens['last'].mean(1)), ('cls_token', tokens['last'][:, 0])):
        model = build(arch=arch, out_indices=(3,), out_type=out_type)
        model.load_state_dict(featmap.state_dict())
        torch.testing.assert_close(model(x), (pooled,))


def test_output_norm_and_out_indices():
    x = torch.randn(1, 3, 64, 64)
    normed, raw = build(), build(output_norm=None, out_indices=(1, 3))
    assert raw.norm is None
    raw.load_state_dict({k: v for k, v in normed.state_dict().items() if not k.startswith('norm.')})
    outputs, raw_outputs = normed(x), raw(x)
    assert torch.equal(outputs[1], raw_outputs[0])
    expected = normed.norm(raw_outputs[1].permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(outputs[3], expected)

    each = build(output_norm='each', out_indices=(1, 3))
    each.norm3.load_state_dict(normed.norm.state_dict())
    each.load_state_dict(raw.state_dict(), strict=False)
    outputs = each(x)
    torch.testing.assert_close(outputs[1], expected)
    torch.testing.assert_close(outputs[0], each.norm1(raw_outputs[0].permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    assert not hasattr(each, 'norm0')


def test_norm_eval():
    model = build(norm_eval=True)
    model.stages[2].embed.patch_embed.norm = nn.BatchNorm1d(16)
    model.train()
    assert not model.stages[2].embed.patch_embed.norm.training
    assert model.stages[2].training


def test_drop_path_grows_linearly():
    model = build(drop_path_rate=0.5)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    rates = [m.drop_prob for block in model.stages[3].blocks for m in block.modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize('neighbors', ['all', 'random'])
def test_checkpointing_changes_nothing(neighbors):
    """Not even with the random shift: the recomputed forward draws the same neighbors."""
    gradients = []
    for with_cp in (False, True, 'ffn'):
        torch.manual_seed(0)
        model = build(with_cp=with_cp, attn_cfg=dict(neighbors=neighbors), drop_path_rate=0.3, drop_rate=0.2).double()
        sum(x.square().mean() for x in model(torch.randn(2, 3, 64, 64, dtype=torch.float64))).backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])
    torch.testing.assert_close(gradients[2], gradients[0])


def test_random_shift_in_training_only():
    shifting, whole = build(attn_cfg=dict(neighbors='random')), build()
    whole.load_state_dict(shifting.state_dict())
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(shifting.eval()(x)[0], whole.eval()(x)[0])
    singles = []
    for neighbor in range(1, 9):
        single = build(attn_cfg=dict(neighbors=neighbor))
        single.load_state_dict(shifting.state_dict())
        singles.append(single(x)[0])
    shifting.train()
    outputs = [shifting(x)[0] for _ in range(40)]
    drawn = [next(i for i, single in enumerate(singles) if torch.equal(output, single)) for output in outputs]
    assert len(set(drawn)) >= 6


def test_get_layer_depth():
    model = build()
    assert model.get_layer_depth('backbone.stages.0.embed.patch_embed.projection.weight', 'backbone.') == (0, 8)
    assert model.get_layer_depth('stages.0.blocks.0.attn.qkv.weight') == (1, 8)
    assert model.get_layer_depth('stages.1.embed.global_tokens') == (1, 8)
    assert model.get_layer_depth('stages.1.blocks.1.ffn.layers.1.bias') == (3, 8)
    assert model.get_layer_depth('stages.3.blocks.0.norm1.weight') == (6, 8)
    assert model.get_layer_depth('norm.weight') == (7, 8)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (7, 8)


def test_initialisation():
    model = build(arch='tiny', absolute_position=True, relative_position_bias=True, img_size=224)
    for name, parameter in model.named_parameters():
        if 'projection' in name:
            continue  # PyTorch's default
        if name.endswith('.weight') and 'norm' in name:
            assert (parameter == 1).all(), name
        elif name.endswith('.bias'):
            assert (parameter == 0).all(), name
        else:
            assert parameter.abs().max() > 0, name
            assert parameter.numel() < 500 or parameter.std().item() == pytest.approx(0.02, rel=0.2), name


def test_another_attention_plugs_in():
    """Of any origin, with no more than the common interface."""
    from vil_mm.models.attentions import BaseAttention
    from vil_mm.registry import MODELS

    @MODELS.register_module(force=True)
    class AveragingAttention(BaseAttention):
        def forward(self, x, hw_shape):
            self.check_tokens(x, hw_shape)
            return self.proj(self.qkv(x).mean(1, keepdim=True)[..., : self.embed_dims].expand_as(x))

    model = build(attn_cfg=[dict(type='vil_mm.AveragingAttention'), None, None, None])
    assert isinstance(model.stages[0].blocks[0].attn, AveragingAttention)
    assert model(torch.randn(1, 3, 64, 64))[3].shape == (1, 32, 2, 2)


def test_subclass_of_an_attention_gets_what_its_base_takes():
    from vil_mm.registry import MODELS

    @MODELS.register_module(force=True)
    class OwnSlidingWindowAttention(SlidingWindowAttention):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    model = build(attn_cfg=dict(type='vil_mm.OwnSlidingWindowAttention', window_size=3, proj_drop=0.5))
    attention = model.stages[0].blocks[0].attn
    assert attention.relative_position_bias is not None
    assert attention.proj_drop.p == 0.5


def test_attn_cfg_without_type_changes_sliding_windows_only():
    model = build(attn_cfg=dict(mask='exact'))
    masks = [getattr(stage.blocks[0].attn, 'mask', None) for stage in model.stages]
    assert masks == ['exact', 'exact', None, None]


def test_exports_with_any_batch_size():
    model = build(attn_cfg=dict(mask='cyclic'), out_indices=(3,)).eval()
    batch = {'x': {0: torch.export.Dim('batch')}}
    program = torch.export.export(model, (torch.randn(2, 3, 64, 64),), dynamic_shapes=batch).module()
    for batch_size in (1, 2, 5):
        x = torch.randn(batch_size, 3, 64, 64)
        torch.testing.assert_close(program(x), model(x))


@pytest.mark.parametrize('absolute', [True, False])
def test_loads_another_size(absolute):
    """Another resolution, other windows, and full attention turned into sliding windows."""
    source = build(absolute_position=absolute, img_size=64)
    target = build(absolute_position=absolute, img_size=96, attn_cfg=dict(SLIDING, window_size=5))
    target.load_state_dict(source.state_dict())
    assert target(torch.randn(1, 3, 96, 96))[0].isfinite().all()
    load_state_dict(target, source.state_dict(), strict=True)  # mmengine's own


def test_loading_refuses_another_family():
    model = build()
    from mmpretrain.models import ConvNeXt, SwinTransformer

    for other in (SwinTransformer('tiny'), ConvNeXt('tiny')):
        with pytest.raises(ValueError, match=r"does not hold 'stages.0.embed.patch.*but \['.*another model family"):
            load_state_dict(model, other.state_dict(), strict=False)
    published = {'module.layer1.0.proj.weight': torch.zeros(1)}
    with pytest.raises(ValueError, match=r'convert it with tools/model_converters/vil2mm.py'):
        model.load_state_dict(published, strict=False)
    wrapped = {f'backbone.{name}': tensor for name, tensor in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"begin with 'backbone.': load it with prefix='backbone.'"):
        model.load_state_dict(wrapped, strict=False)


def test_pretrained_backbone_of_a_classifier(tmp_path):
    source = build()
    torch.save({f'backbone.{name}': tensor for name, tensor in source.state_dict().items()}, tmp_path / 'a.pth')
    model = build(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'), prefix='backbone.'))
    torch.testing.assert_close(model.state_dict(), source.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch=ARCH.replace('h2,d16,n2,s1', 'h3,d16,n2,s1')), r'num_heads=3 must divide embed_dims=16'),
        (dict(attn_cfg=dict(mask='exact', neighbors='self')), r"neighbors='self' must be 'all'"),
        (dict(attn_cfg=dict(neighbors='some')), r"neighbors='some' is not one of"),
        (dict(attn_cfg=dict(window_size=0)), 'window_size=0 must be an integer from 1 to 4096'),
        (dict(attn_cfg=dict(SLIDING, attn_drop=0.1)), r'attn_drop=0.1 must be 0'),
        (dict(arch=SPARSE, attn_cfg=dict(SLIDING, only_global=True)), r'only_global=True needs global tokens'),
        (dict(attn_cfg=dict(type='vil_mm.NoAttention')), r"type='vil_mm.NoAttention', which is not registered"),
        (dict(attn_cfg=[None]), r'attn_cfg=\[None\] must be a dict, or have one entry per stage, 4'),
        (dict(attn_cfg=[]), r'attn_cfg=\[\] must be a dict, or have one entry per stage, 4'),
        (dict(attn_cfg=dict(window_size=5000)), 'window_size=5000 must be an integer from 1 to 4096'),
        (dict(attn_cfg='vil_mm.FullAttention'), r"attn_cfg='vil_mm.FullAttention' must be a dict"),
        (dict(attn_cfg=dict(num_heads=2)), r"attn_cfg sets \['num_heads'\], which arch decides"),
        (dict(out_indices=2), 'out_indices=2 must be a sequence'),
        (dict(out_indices=(4,)), r'out_indices=\(4,\) must name stages, 0 to 3'),
        (dict(out_type='map'), "out_type='map' must be 'featmap' or"),
        (dict(out_type='cls_token'), r"out_type='cls_token' needs global tokens"),
        (dict(frozen_stages=4), r'frozen_stages=4 must be -1 to 3'),
        (dict(with_cp='attn'), "with_cp='attn' must be True or False or 'ffn'"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build(**kwargs)


@pytest.mark.parametrize('scope', ['mmdet', 'mmpretrain'])
def test_attentions_without_their_scope(scope):
    """In a config of another library, they are not found by their bare names."""
    expected = pytest.raises(ValueError, match=r"type='FullAttention', .* did you mean 'vil_mm\.FullAttention'")
    with DefaultScope.overwrite_default_scope(scope), expected:
        build(attn_cfg=dict(type='FullAttention'))


def test_no_sliding_window_to_change():
    with pytest.raises(ValueError, match=r'attn_cfg=.* has no type, .* of which arch has none'):
        build(arch='l1,s0_l2_l3', attn_cfg=dict(mask='exact'))


def test_image_smaller_than_a_patch():
    with pytest.raises(ValueError, match=r'the image has size \(3, 64\), must be at least one patch, \(4, 4\)'):
        build()(torch.rand(1, 3, 3, 64))


def test_full_attention_says_what_to_change():
    with pytest.raises(ValueError, match=r'hw_shape=\(10, 14\).*grid of \(4, 4\).*SlidingWindowAttention.*img_size'):
        build()(torch.rand(1, 3, 157, 211))


def test_image_without_a_batch():
    with pytest.raises(ValueError, match=r'the images have shape \(3, 64, 64\), must be'):
        build()(torch.rand(3, 64, 64))


def test_wrong_token_count():
    attention = SlidingWindowAttention(8, 2, num_global_tokens=1)
    with pytest.raises(ValueError, match=r'x has shape \(1, 12, 8\), must be \(N, 13, 8\): 1 global tokens'):
        attention(torch.rand(1, 12, 8), (3, 4))


def test_cropped_positions():
    torch.manual_seed(0)
    model = build(absolute_position=True, position_fit='crop').eval()
    interpolating = build(absolute_position=True).eval()
    interpolating.load_state_dict(model.state_dict())
    image = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(model(image)[0], interpolating(image)[0])
    small = image[..., :48]
    assert not torch.allclose(model(small)[0], interpolating(small)[0])
    # a row of chunks that sees neither the cut nor its positions is as in the whole image
    position = model.stages[0].embed.position_embed
    tokens = torch.zeros(1, 1 + 16 * 12, 8)
    whole = position(torch.zeros(1, 1 + 256, 8), (16, 16))[:, 1:].unflatten(1, (16, 16))
    torch.testing.assert_close(position(tokens, (16, 12))[:, 1:].unflatten(1, (16, 12)), whole[:, :, :12])
    with pytest.raises(ValueError, match=r'hw_shape=\(16, 17\).*grid of \(16, 16\).*Set img_size'):
        model(torch.randn(1, 3, 64, 68))
    with pytest.raises(ValueError, match="position_fit='pad' must be 'interpolate' or 'crop'"):
        build(absolute_position=True, position_fit='pad')


def test_partial_patches():
    """A map is padded to whole patches at every stage, so that all outputs show the same part of the image."""
    image = torch.randn(2, 3, 55, 61)
    padded = build(arch=SPARSE, attn_cfg=SLIDING).eval()
    assert [tuple(x.shape[2:]) for x in padded(image)] == [(14, 16), (7, 8), (4, 4), (2, 2)]
    whole = F.pad(image, (0, 3, 0, 1))
    torch.testing.assert_close(padded(image)[:2], padded(whole)[:2])
    dropping = build(arch=SPARSE, attn_cfg=SLIDING, partial_patches='drop').eval()
    dropping.load_state_dict(padded.state_dict())
    assert [tuple(x.shape[2:]) for x in dropping(image)] == [(13, 15), (6, 7), (3, 3), (1, 1)]
    torch.testing.assert_close(dropping(image)[0], dropping(image[..., :52, :60])[0])
    torch.testing.assert_close(dropping(image[..., :32, :32]), padded(image[..., :32, :32]))
    with pytest.raises(ValueError, match="partial_patches='crop' must be 'pad' or 'drop'"):
        build(partial_patches='crop')


@pytest.mark.parametrize(('partial_patches', 'grid'), [('pad', (15, 14)), ('drop', (14, 13))])
def test_position_parameters_fit_img_size(partial_patches, grid):
    model = build(img_size=(57, 55), absolute_position=True, partial_patches=partial_patches)
    position = model.stages[0].embed.position_embed
    assert (position.rows.shape[1], position.columns.shape[1]) == grid
    assert len(model(torch.rand(1, 3, 57, 55))) == 4
