"""Varied-size windows, held against the formulas of their publication, and in a backbone with global tokens."""

import pytest
import torch
import torch.nn.functional as F

from vil_mm.models import FullAttention, VariedSizeWindowAttention, ViL, WindowAttention


def build(cls, embed_dims=8, num_heads=2, **kwargs):
    torch.manual_seed(0)
    attention = cls(embed_dims, num_heads, **kwargs).double()
    attention.init_weights()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return attention


def by_formula(attention, x, hw_shape):
    """The output, computed a window and a head at a time, with grid_sample in its normalized coordinates."""
    num_global, w, heads = attention.num_global_tokens, attention.window_size, attention.num_heads
    (h, width), (pad_y, pad_x) = hw_shape, (-size % w for size in hw_shape)
    top, left = (pad_y // 2, pad_x // 2) if attention.padding == 'both' else (0, 0)
    d = attention.embed_dims // heads

    def padded(tokens):
        return F.pad(tokens.unflatten(1, hw_shape).permute(0, 3, 1, 2), (left, pad_x - left, top, pad_y - top))

    q, k, v = attention.qkv(x).chunk(3, dim=2)
    grid = padded(x[:, num_global:])
    padded_h, padded_w = grid.shape[2:]
    predicted = attention.predict(F.leaky_relu(F.avg_pool2d(grid, w)).permute(0, 2, 3, 1))
    offsets, scales = predicted.chunk(2, dim=-1)
    counts = max(1, width // w), max(1, h // w)
    counts = counts[::-1] if attention.swap_window_counts else counts
    bias = attention.relative_position_bias
    out = torch.zeros(len(x), attention.embed_dims, padded_h, padded_w, dtype=x.dtype)
    for n in range(len(x)):
        for head in range(heads):
            part = slice(head * d, (head + 1) * d)
            maps = [padded(tokens[:, num_global:])[n, part] for tokens in (q, k, v)]
            for row in range(padded_h // w):
                for column in range(padded_w // w):
                    points = []
                    for axis, size, index in ((0, padded_w, column), (1, padded_h, row)):
                        unit = 2 / (size - 1)
                        inside = (torch.arange(w) - (w - 1) / 2).double()
                        center = -1 + (index * w + (w - 1) / 2) * unit
                        offset = offsets[n, row, column, 2 * head + axis] / counts[axis]
                        scale = scales[n, row, column, 2 * head + axis]
                        points.append(center + inside * unit * (1 + scale) + offset)
                    sampling = torch.stack([points[0][None].expand(w, w), points[1][:, None].expand(w, w)], dim=-1)
                    where = slice(row * w, (row + 1) * w), slice(column * w, (column + 1) * w)
                    queries = maps[0][(slice(None), *where)].flatten(1).mT
                    keys, values = (
                        torch.cat(
                            [
                                tokens[n, :num_global, part],
                                F.grid_sample(part_map[None], sampling[None], align_corners=True)[0].flatten(1).mT,
                            ]
                        )
                        for tokens, part_map in ((k, maps[1]), (v, maps[2]))
                    )
                    logits = queries @ keys.mT * (attention.in_dims / heads) ** -0.5
                    if bias is not None:
                        logits = logits + bias.for_local((w, w), logits.dtype)[0, head]
                    attended = logits.softmax(-1) @ values
                    out[(n, part, *where)] = attended.mT.unflatten(1, (w, w))
    out = out[:, :, top : top + h, left : left + width].flatten(2).mT
    return attention.proj(out)


@pytest.mark.parametrize('hw_shape', [(5, 7), (2, 9), (1, 1)], ids=str)
@pytest.mark.parametrize('in_dims', [None, 12])
@pytest.mark.parametrize('padding, swap', [('end', False), ('both', True)])
@pytest.mark.parametrize('num_global', [0, 2])
@pytest.mark.parametrize('bias', [True, False])
def test_equals_the_formula(bias, num_global, padding, swap, in_dims, hw_shape):
    attention = build(
        VariedSizeWindowAttention,
        window_size=3,
        padding=padding,
        swap_window_counts=swap,
        num_global_tokens=num_global,
        in_dims=in_dims,
        relative_position_bias=bias,
    )
    x = torch.randn(2, num_global + hw_shape[0] * hw_shape[1], in_dims or 8, dtype=torch.float64, requires_grad=True)
    expected = by_formula(attention, x, hw_shape)
    out = attention(x, hw_shape)
    torch.testing.assert_close(out[:, num_global:], expected)
    cotangent = torch.randn_like(expected)
    parameters = [x, *attention.predict.parameters(), *attention.qkv.parameters()]
    gradients, expected_gradients = (
        torch.autograd.grad((result * cotangent).sum(), parameters) for result in (out[:, num_global:], expected)
    )
    torch.testing.assert_close(gradients, expected_gradients)


def test_global_tokens_attend_to_all():
    attention = build(VariedSizeWindowAttention, window_size=3, num_global_tokens=2, relative_position_bias=False)
    full = build(FullAttention, num_global_tokens=2)
    full.load_state_dict({k: v for k, v in attention.state_dict().items() if not k.startswith('predict')})
    x = torch.randn(2, 2 + 5 * 7, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x, (5, 7))[:, :2], full(x, (5, 7))[:, :2])


def test_predictions_of_zeros_are_plain_windows():
    attention = build(VariedSizeWindowAttention, window_size=3)
    for parameter in attention.predict.parameters():
        torch.nn.init.zeros_(parameter)
    plain = build(WindowAttention, window_size=3, relative_position_bias=True)
    plain.load_state_dict({k: v for k, v in attention.state_dict().items() if not k.startswith('predict')})
    x = torch.randn(2, 6 * 9, 8, dtype=torch.float64)
    torch.testing.assert_close(attention(x, (6, 9)), plain(x, (6, 9)))


@pytest.mark.parametrize('value', [1e30, float('inf'), float('nan')])
def test_wild_predictions_read_nothing_outside(value):
    attention = build(VariedSizeWindowAttention, window_size=3).float()
    torch.nn.init.constant_(attention.predict.bias, value)
    out = attention(torch.randn(1, 6 * 9, 8), (6, 9))
    if value == 1e30:
        # beyond the grid all keys and values are zeros
        torch.testing.assert_close(out, attention.proj.bias.expand_as(out))
    out.sum().backward()


def test_mixed_precision():
    """Places are predicted and computed in float32, also on a map whose places bfloat16 cannot tell apart."""
    attention = build(VariedSizeWindowAttention)
    x, hw_shape = torch.randn(1, 98 * 98, 8), (98, 98)
    points = attention._sampling_points(x.double().unflatten(1, hw_shape))
    attention.float()
    x.requires_grad_()
    expected = attention(x, hw_shape)
    with torch.autocast('cpu', torch.bfloat16):
        out, mixed_points = attention(x, hw_shape), attention._sampling_points(x.unflatten(1, hw_shape))
    torch.testing.assert_close(mixed_points, points, rtol=0, atol=1e-4, check_dtype=False)
    assert (out - expected).abs().mean() < 0.01 * expected.abs().mean()
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in [x, *attention.parameters()])


def test_in_vision_longformer():
    """As the attention of a ViL with global tokens, on an image whose maps no window fills."""
    torch.manual_seed(0)
    model = ViL(
        'l1,h2,d8,n1,s1,g1,p4,f7,a0_l2,h2,d16,n2,s1,g2,p2,f7,a0_l3,h2,d16,n1,s1,g1,p2,f7,a0_l4,h4,d32,n1,s1,g0,p2,f7,a0',
        attn_cfg=dict(type='vil_mm.VariedSizeWindowAttention', window_size=3),
    )
    model.init_weights()
    maps = model(torch.randn(2, 3, 93, 71))
    assert [tuple(x.shape[2:]) for x in maps] == [(24, 18), (12, 9), (6, 5), (3, 3)]
    sum(x.square().mean() for x in maps).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


def test_linear_layers_are_initialized_as_published():
    """Not to zeros, nor as the model's other linear layers: published models start from random offsets."""
    model = ViL('tiny', attn_cfg=dict(type='vil_mm.VariedSizeWindowAttention'))
    model.init_weights()
    attention = model.stages[0].blocks[0].attn
    for layer in (attention.qkv, attention.proj, attention.predict):
        bound = layer.in_features**-0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert layer.bias.abs().max() > 0.5 * bound
    assert attention.relative_position_bias.table.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(window_size=0), 'window_size=0 must be'),
        (dict(padding='start'), "padding='start' must be 'end' or 'both'"),
    ],
)
def test_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        VariedSizeWindowAttention(8, 2, **kwargs)


def test_full_attention_with_skipped_values():
    """``v + proj(attention)``, scaled by the width of the input, as the reduction cells of ViTAEv2 have it."""
    attention = build(FullAttention, in_dims=12, skip_values=True, qkv_bias=False)
    x = torch.randn(2, 6, 12, dtype=torch.float64)
    q, k, v = (part.unflatten(2, (2, 4)).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=2))
    attended = (q @ k.mT * 6**-0.5).softmax(-1) @ v
    expected = attention.proj(attended.transpose(1, 2).flatten(2)) + v.transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention(x, (2, 3)), expected)
