"""What the goldens do not tell of Linformer, Performer and spatial reduction: sizes, batches, loading, errors."""

import pytest
import torch
from mmengine.config import Config

from tests.conftest import ROOT
from vil_mm.engine.overrides import override
from vil_mm.models import LinformerAttention, PerformerAttention, SlidingWindowAttention, SpatialReductionAttention, ViL
from vil_mm.models.attentions.performer_attention import draw_projection
from vil_mm.models.layers import loading
from vil_mm.registry import MODELS

ARCH = 'l1,h1,d8,n1,s1,g1,p4,f3_l2,h2,d16,n1,s1,g2,p2,f2_l3,h2,d16,n1,s0,g1,p2,f7_l4,h4,d32,n1,s0,g0,p2,f7'


@pytest.fixture
def warnings(monkeypatch):
    """The warnings of skipped tensors."""
    messages = []
    monkeypatch.setattr(loading, 'print_log', lambda message, logger, level: messages.append(message))
    return messages


def build(attn_cfg, **kwargs):
    torch.manual_seed(0)
    model = ViL(ARCH, attn_cfg=attn_cfg, drop_path_rate=0.0, **{'img_size': 64, **kwargs})
    model.init_weights()
    return model


@pytest.mark.parametrize('size', [(64, 64), (157, 211), (33, 47), (16, 200), (5, 4)])
@pytest.mark.parametrize(
    'attn_cfg',
    [
        dict(type='vil_mm.PerformerAttention', num_features=20),
        dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=3),
        [None, dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=2)] * 2,
        [dict(only_global=True)] * 2 + [None] * 2,
    ],
    ids=str,
)
def test_any_size(attn_cfg, size):
    model = build(attn_cfg)
    outputs = model(torch.randn(2, 3, *size))
    assert all(x.isfinite().all() for x in outputs)
    sum(x.square().mean() for x in outputs).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_linformer_knows_one_grid_only():
    model = build([dict(type='vil_mm.LinformerAttention', num_features=6)] * 2 + [None] * 2, img_size=(64, 96))
    assert [tuple(x.shape[2:]) for x in model(torch.randn(1, 3, 64, 96))] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    with pytest.raises(ValueError, match=r'hw_shape=\(16, 16\).*grid of \(16, 24\).*Set img_size'):
        model(torch.randn(1, 3, 64, 64))


@pytest.mark.parametrize(
    'cls, kwargs',
    [
        (LinformerAttention, dict(grid_size=(5, 6), num_features=7)),
        (PerformerAttention, dict(num_features=7)),
        (SpatialReductionAttention, dict(reduction_ratio=2)),
    ],
)
def test_low_precision_and_autocast(cls, kwargs):
    """Under bfloat16 autocast the error stays in the order of its rounding, and the dtype is that of autocast."""
    torch.manual_seed(0)
    attention = cls(16, 2, num_global_tokens=1, **kwargs).double()
    attention.init_weights()
    x = torch.randn(3, 31, 16, dtype=torch.float64)
    exact = attention(x, (5, 6))
    attention.float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        out = attention(x.float(), (5, 6))
    assert out.dtype == torch.bfloat16
    assert (out - exact).abs().max() < 0.02 * exact.abs().max()


def test_performer_is_the_softmax_with_many_features():
    torch.manual_seed(0)
    attention = PerformerAttention(16, 2, num_features=20_000).double()
    x = 0.5 * torch.randn(2, 30, 16, dtype=torch.float64)
    q, k, v = attention.split_heads(attention.qkv(x))
    exact = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    expected = attention.proj(exact)
    assert (attention(x, (5, 6)) - expected).abs().max() < 0.02 * expected.abs().max()


def test_performer_stabilizer_frees_an_image_from_its_batch():
    torch.manual_seed(1)
    x = torch.randn(4, 30, 16, dtype=torch.float64)
    x[1:] *= 4  # the batch's largest exponent is not that of the first image
    changes = {}
    for stabilizer in ('batch', 'image'):
        torch.manual_seed(0)
        attention = PerformerAttention(16, 2, num_features=24, stabilizer=stabilizer).double()
        changes[stabilizer] = (attention(x, (5, 6))[:1] - attention(x[:1], (5, 6))).abs().max().item()
    assert changes['batch'] > 1e-6
    assert changes['image'] < 1e-12


def test_performer_directions_are_orthogonal_within_blocks():
    torch.manual_seed(0)
    projection = draw_projection(20, 8)
    assert projection.shape == (20, 8)
    for block in projection.split(8):
        block = block / block.norm(dim=1, keepdim=True)
        torch.testing.assert_close(block @ block.T, torch.eye(len(block)), atol=1e-5, rtol=0)
    lengths = draw_projection(4096, 8).norm(dim=1)
    assert lengths.square().mean() == pytest.approx(8, rel=0.05)
    assert not torch.equal(projection, draw_projection(20, 8))


@pytest.mark.parametrize(
    'attn_cfg, other, skipped',
    [
        (dict(type='vil_mm.LinformerAttention', num_features=6), dict(img_size=96), r'proj_k'),
        (dict(type='vil_mm.PerformerAttention', num_features=6), dict(num_features=8), r'projection_matrix'),
        (
            dict(type='vil_mm.SpatialReductionAttention', reduction_ratio=2),
            dict(reduction_ratio=4),
            r'reduction.weight',
        ),
    ],
)
def test_loading_another_size_names_what_is_skipped(attn_cfg, other, skipped, warnings):
    source = build(attn_cfg)
    size = {'img_size': other.pop('img_size')} if 'img_size' in other else {}
    target = build(dict(attn_cfg, **other), **size)
    kept = {name: tensor.clone() for name, tensor in target.state_dict().items() if skipped in name}
    result = target.load_state_dict(source.state_dict(), strict=False)
    assert set(result.missing_keys) == set(kept) and not result.unexpected_keys
    for name, tensor in kept.items():
        torch.testing.assert_close(target.state_dict()[name], tensor)
    assert [message.split(': skipped, its shape is (')[0] for message in warnings] == list(kept)
    with pytest.raises(RuntimeError, match=skipped):
        target.load_state_dict(source.state_dict())


def test_loading_another_number_of_global_tokens(warnings):
    source, target = build(None), ViL(ARCH.replace('g2', 'g3'), img_size=64)
    missing = target.load_state_dict(source.state_dict(), strict=False).missing_keys
    assert set(missing) == {'stages.1.embed.global_tokens', 'stages.1.embed.position_embed.global_tokens'}
    expected = 'stages.1.embed.global_tokens: skipped, its shape is (1, 2, 16) in the checkpoint and (1, 3, 16) here'
    assert warnings[0].startswith(expected)


@pytest.mark.parametrize(
    'cls, kwargs, message',
    [
        (LinformerAttention, dict(grid_size=(2, 2), num_features=0), 'num_features=0 must be an integer of at least 1'),
        (PerformerAttention, dict(num_features=0), 'num_features=0 must be an integer of at least 1'),
        (PerformerAttention, dict(stabilizer='head'), "stabilizer='head' must be 'batch' or 'image'"),
        (PerformerAttention, dict(attn_drop=0.1), r'attn_drop=0.1 must be 0'),
        (SpatialReductionAttention, dict(reduction_ratio=0), 'reduction_ratio=0 must be an integer of at least 1'),
        (SlidingWindowAttention, dict(backend='tvm'), r"backend='tvm' is not one of .*'reference'"),
    ],
)
def test_errors(cls, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cls(16, 2, **kwargs)


def test_backend_by_options():
    """As ``tools/train.py CONFIG --cfg-options`` sets it."""
    cfg = Config.fromfile(ROOT / 'configs/vil/vil-nano_1xb64_digits.py')
    override(cfg, {'model.backbone.attn_cfg.backend': 'cuda'})
    model = MODELS.build(cfg.model.backbone)
    assert 'cuda' in {getattr(module, 'backend', None) for module in model.modules()}
    with pytest.raises(ValueError, match="backend='cuda' cannot run: "):
        model(torch.randn(1, 3, 32, 32))
