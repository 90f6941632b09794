"""L2ViT: what its goldens do not tell."""

import pytest
import torch
from mmcv.cnn.bricks import DropPath
from torch import nn

from vil_mm.models import L2ViT, LinearAttention, SlidingWindowAttention, ViL, WindowAttention
from vil_mm.registry import MODELS

ARCH = dict(embed_dims=[16, 32, 32, 64], depths=[2, 1, 3, 2], num_heads=[1, 2, 2, 4])
SLIDING = dict(type='vil_mm.SlidingWindowAttention')


def build(**kwargs):
    torch.manual_seed(0)
    model = L2ViT(ARCH, **{'drop_path_rate': 0.0, **kwargs})
    model.init_weights()
    return model


def attentions(model, parity):
    return [block.attn for stage in model.stages for block in stage.blocks[parity::2]]


@pytest.mark.parametrize('arch, parameters', [('tiny', 27_829_125), ('small', 49_431_501), ('base', 87_553_980)])
def test_named_architectures(arch, parameters):
    with torch.device('meta'):
        model = L2ViT(arch, output_norm='each')
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_blocks_alternate():
    model = build()
    for stage in model.stages:
        for i, block in enumerate(stage.blocks):
            assert isinstance(block.attn, LinearAttention if i % 2 else WindowAttention)
            assert len(block.position_encodings) == (1 if i % 2 else 2)


def test_branches_of_a_block_are_dropped_independently_at_one_rate():
    model = build(drop_path_rate=0.7)
    rates = [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks]
    assert rates == pytest.approx([0.1 * i for i in range(8)])
    block = model.stages[3].blocks[1].train()
    assert block.ffn.dropout_layer.drop_prob == pytest.approx(0.7)
    kept = []
    for module in (m for m in block.modules() if isinstance(m, DropPath)):
        module.register_forward_hook(lambda module, args, output: kept.append(output.flatten(1).any(1)))
    block(torch.randn(64, 4, 64), (2, 2))
    assert len(kept) == 3
    assert not any(torch.equal(kept[i], kept[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_initial_weights():
    model = build()
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            assert not module.bias.any()
            assert module.weight.abs().max() < 0.12
            if module.weight.numel() > 1000:
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
            assert not module.bias.any() and (module.weight == 1).all()
        if isinstance(module, LinearAttention):
            width = module.embed_dims // module.num_heads
            torch.testing.assert_close(module.temperature, torch.full((module.num_heads, 1, 1), width**-0.5))


def test_padding_is_below_and_on_the_right():
    """An image and the same with zeros appended up to the stride's multiple are one."""
    model = build(out_indices=(0,)).eval()
    image = torch.randn(1, 3, 30, 45)
    padded = nn.functional.pad(image, (0, 3, 0, 2))
    torch.testing.assert_close(model(image), model(padded))


def test_window_size():
    assert [attn.window_size for attn in attentions(build(window_size=5), 0)] == [5] * 5
    # of the attention that replaces the published one, too
    model = build(window_size=5, attn_cfg=SLIDING)
    assert all(isinstance(attn, SlidingWindowAttention) and attn.window_size == 5 for attn in attentions(model, 0))
    assert [attn.window_size for attn in attentions(build(attn_cfg=[None, None, dict(window_size=3), None]), 0)] == [
        7,
        7,
        3,
        3,
        7,
    ]


def test_attn_cfg():
    model = build(attn_cfg=SLIDING, global_attn_cfg=dict(min_denominator=1.0), drop_rate=0.2)
    assert all(isinstance(attn, SlidingWindowAttention) for attn in attentions(model, 0))
    assert all(attn.min_denominator == 1.0 and attn.proj_drop.p == 0.2 for attn in attentions(model, 1))
    full = dict(type='vil_mm.FullAttention')
    model = build(global_attn_cfg=[None, None, None, full])
    assert [type(attn).__name__ for attn in attentions(model, 1)] == ['LinearAttention'] * 2 + ['FullAttention']
    for x in model(torch.randn(2, 3, 57, 83)):
        assert x.isfinite().all()


def test_linear_attention_in_vil():
    """With global tokens, at a size that no stride divides."""
    torch.manual_seed(0)
    arch = (
        'l1,h1,d8,n1,s1,g1,p4,f3,a0_l2,h2,d16,n2,s1,g2,p2,f2,a0_l3,h2,d16,n1,s1,g1,p2,f7,a0_l4,h4,d32,n1,s1,g0,p2,f7,a0'
    )
    model = ViL(arch, attn_cfg=dict(type='vil_mm.LinearAttention'), drop_path_rate=0.0)
    model.init_weights()
    outputs = model(torch.randn(2, 3, 71, 93))
    assert [tuple(x.shape[2:]) for x in outputs] == [(18, 24), (9, 12), (5, 6), (3, 3)]
    sum(x.square().mean() for x in outputs).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_norm_eval_keeps_running_statistics():
    model = build(norm_eval=True).train()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model(torch.randn(2, 3, 64, 64))
    torch.testing.assert_close(before, dict(model.named_buffers()), rtol=0, atol=0)
    model.norm_eval = False
    model.train()(torch.randn(2, 3, 64, 64))
    changed = dict(model.named_buffers())
    assert len(before) == 3 * (2 + 3)  # of two batch norms in the stem, and of the three concentrations
    assert not any(torch.equal(buffer, changed[name]) for name, buffer in before.items())


def test_published_file_is_pointed_to_the_converter():
    with pytest.raises(ValueError, match=r'It is a published file: convert it with tools/model_converters/l2vit2mm.py'):
        build().load_state_dict({'downsample_layers.0.norm.weight': torch.zeros(16)}, strict=False)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch='large'), r"arch='large' must be a name, one of \['nano', 'tiny', 'small', 'base'\], or a dict"),
        (dict(arch=dict(embed_dims=[8])), r"arch has the keys \['embed_dims'\], a dict must have exactly"),
        (dict(arch=dict(ARCH, depths=[2])), r'one value per stage under each key, got lengths'),
        (dict(arch=dict(ARCH, depths=[2, 0, 2, 2])), r"arch\['depths'\]=\[2, 0, 2, 2\] must be .* at least 1"),
        (dict(arch=dict(ARCH, num_heads=[3, 2, 2, 4])), r'num_heads=3 must divide embed_dims=16'),
        (dict(window_size=0), 'window_size=0 must be an integer of at least 1'),
        (dict(out_type='cls_token'), r"out_type='cls_token' needs global tokens.*use 'avg_featmap'"),
        (dict(attn_cfg=dict(num_global_tokens=1)), r"attn_cfg sets \['num_global_tokens'\], which arch decides"),
        (dict(attn_cfg=[None]), r'attn_cfg=\[None\] must be a dict, or have one entry per stage, 4'),
        (dict(global_attn_cfg=dict(type='vil_mm.NoAttention')), r'which is not registered'),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(dict(type='vil_mm.L2ViT', arch=ARCH), **kwargs))
