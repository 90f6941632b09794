"""Swin Transformer with varied-size windows."""

import pytest
import torch
from mmpretrain.models import SwinTransformer

from vil_mm.models import SlidingWindowAttention, VariedSizeWindowAttention
from vil_mm.models.backbones.swin_vsa import SwinVSA
from vil_mm.registry import MODELS

ARCH = dict(embed_dims=16, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4])


def build(**kwargs):
    torch.manual_seed(0)
    cfg = dict(type='vil_mm.SwinVSA', arch=ARCH, out_indices=(0, 1, 2, 3), drop_path_rate=0.0, window_size=3)
    model = MODELS.build(dict(cfg, **kwargs))
    model.init_weights()
    return model


def loss_of(outputs):
    return sum(x.square().mean() for x in outputs)


def test_is_swin_where_windows_are_plain():
    """One block a stage, so that Swin shifts no window; windows are predicted where they are."""
    kwargs = dict(arch=dict(ARCH, depths=[1] * 4), out_indices=(0, 1, 2, 3), window_size=7)
    swin, model = (cls(**kwargs).double() for cls in (SwinTransformer, SwinVSA))
    swin.eval()
    model.eval()
    with torch.no_grad():
        for p in swin.parameters():
            p.normal_(std=0.3)
        for name, p in model.named_parameters():
            if 'position_encoding' in name or '.predict.' in name:
                p.zero_()
    names = {'attn.w_msa.': 'attn.', 'relative_position_bias_table': 'relative_position_bias.table'}
    state = swin.state_dict()
    for old, new in names.items():
        state = {name.replace(old, new): value for name, value in state.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert all('position_encoding' in name or '.predict.' in name for name in missing)
    assert all('relative_position_index' in name for name in unexpected)
    images = torch.randn(2, 3, 224, 224, dtype=torch.float64)
    torch.testing.assert_close(model(images), swin(images))


@pytest.mark.parametrize('shape', [(1, 3, 33, 47), (2, 3, 64, 64), (1, 3, 157, 101)], ids=str)
def test_any_size(shape):
    model = build()
    outputs = model(torch.randn(shape))
    loss_of(outputs).backward()
    assert [x.shape[1] for x in outputs] == [16, 32, 64, 128]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_train_returns_self_and_stays_frozen():
    model = build(frozen_stages=1)
    assert not any(p.requires_grad for p in model.stages[1].parameters())  # before DDP looks
    assert model.train() is model and model.eval() is model
    model.train()
    loss_of(model(torch.randn(1, 3, 64, 64))).backward()
    frozen = {
        name.split('.')[1] for name, p in model.named_parameters() if p.grad is None and name.startswith('stages')
    }
    assert frozen == {'0', '1'}


def test_checkpointing_changes_nothing():
    gradients = []
    for with_cp in (False, True):
        model = build(with_cp=with_cp, drop_path_rate=0.3).double()
        torch.manual_seed(1)
        loss_of(model(torch.randn(2, 3, 64, 96, dtype=torch.float64))).backward()
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(gradients[1], gradients[0])


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
    with pytest.raises(
        ValueError, match=r"LinformerAttention', which needs \['grid_size'\]. This backbone does not know"
    ):
        build(attn_cfg=dict(type='vil_mm.LinformerAttention'))
    grids = [dict(type='vil_mm.LinformerAttention', grid_size=(side, side)) for side in (16, 8, 4, 2)]
    assert len(build(attn_cfg=grids)(torch.randn(1, 3, 64, 64))) == 4


def test_arguments_without_effect_are_refused():
    with pytest.raises(ValueError, match=r'pad_small_map=True is of shifted windows'):
        build(pad_small_map=True)
