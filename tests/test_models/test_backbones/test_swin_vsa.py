"""Swin Transformer with varied-size windows: what its contract and its converter's tests do not tell."""

import pytest
import torch

from vil_mm.models import SlidingWindowAttention, SwinVSA, VariedSizeWindowAttention

ARCH = dict(embed_dims=[16, 32, 64, 128], depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4])


def build(**kwargs):
    torch.manual_seed(0)
    model = SwinVSA(ARCH, window_size=3, **kwargs)
    model.init_weights()
    return model


@pytest.mark.parametrize('arch, parameters', [('tiny', 28_010_274), ('small', 49_780_338), ('base', 88_218_776)])
def test_named_architectures(arch, parameters):
    with torch.device('meta'):
        model = SwinVSA(arch, output_norm='last')
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_attn_cfg():
    sliding = dict(type='vil_mm.SlidingWindowAttention', window_size=3)
    model = build(attn_cfg=[None, dict(padding='both'), sliding, None])
    attns = [stage.blocks[0].attn for stage in model.stages]
    assert [type(attn) for attn in attns] == [
        VariedSizeWindowAttention,
        VariedSizeWindowAttention,
        SlidingWindowAttention,
        VariedSizeWindowAttention,
    ]
    assert attns[0].window_size == 3 and attns[1].padding == 'both'
    assert all(x.isfinite().all() for x in model(torch.randn(1, 3, 64, 64)))
    with pytest.raises(ValueError, match=r"attn_cfg sets \['num_heads'\]"):
        build(attn_cfg=dict(num_heads=3))


def test_attentions_are_built_for_the_grids_of_the_image_size():
    linformer = dict(type='vil_mm.LinformerAttention', num_features=4)
    model = build(attn_cfg=linformer, img_size=(70, 64))
    assert [stage.blocks[0].attn.grid_size for stage in model.stages] == [(18, 16), (9, 8), (5, 4), (3, 2)]
    assert len(model(torch.randn(1, 3, 70, 64))) == 4
    with pytest.raises(ValueError, match=r'grid of \(18, 16\).*Set img_size'):
        model(torch.randn(1, 3, 64, 64))


def test_position_encoding_is_part_of_the_input_of_the_attention_only():
    block = build().stages[0].blocks[0].double()
    x = torch.randn(1, 36, 16, dtype=torch.float64)
    torch.nn.init.zeros_(block.attn.proj.weight)
    torch.nn.init.zeros_(block.attn.proj.bias)
    torch.testing.assert_close(block.mix_tokens(x, (6, 6)), x)
