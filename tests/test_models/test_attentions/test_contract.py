"""What every attention promises. Attentions are found in the registry: a new one is tested by being registered."""

import inspect

import pytest
import torch

import vil_mm.models  # noqa: F401
from vil_mm.models.attentions import BaseAttention
from vil_mm.registry import MODELS

GRID = (5, 7)


def attention_classes():
    """All registered attentions, by name."""
    return {
        name: cls
        for name, cls in MODELS.module_dict.items()
        if inspect.isclass(cls) and issubclass(cls, BaseAttention) and cls.__module__.startswith('vil_mm.')
    }


def build(cls, num_global_tokens, grid=GRID, **kwargs):
    """Build an attention with what a backbone gives it; a relative position bias too, if it has one."""
    torch.manual_seed(0)
    if cls.has_relative_position_bias:
        kwargs.setdefault('relative_position_bias', True)
    attention = cls(8, 2, num_global_tokens=num_global_tokens, grid_size=grid, window_size=3, **kwargs).double()
    attention.init_weights()
    return attention


def check_any_grid(cls, num_global_tokens, grid):
    attention = build(cls, num_global_tokens, grid)
    x = torch.randn(2, num_global_tokens + grid[0] * grid[1], 8, dtype=torch.float64)
    out = attention(x, grid)
    assert out.shape == x.shape and out.dtype == x.dtype and out.isfinite().all()
    with pytest.raises(ValueError, match=r'x has shape .* must be \(N, '):
        attention(x[:, :-1], grid)
    # images do not see each other
    torch.testing.assert_close(attention.eval()(x[1:], grid), attention(x, grid)[1:], rtol=1e-3, atol=1e-3)


def check_inputs_of_other_channels(cls):
    attention = build(cls, 0, in_dims=12)
    x = torch.randn(2, GRID[0] * GRID[1], 12, dtype=torch.float64)
    assert attention(x, GRID).shape == (2, GRID[0] * GRID[1], 8)


def check_no_images(cls, num_global_tokens):
    x = torch.randn(0, num_global_tokens + GRID[0] * GRID[1], 8, dtype=torch.float64, requires_grad=True)
    attention = build(cls, num_global_tokens)
    output = attention(x, GRID)
    assert output.shape == x.shape
    output.sum().backward()
    assert not any(parameter.grad.any() for parameter in attention.parameters() if parameter.grad is not None)


def check_gradients(cls, num_global_tokens):
    attention = build(cls, num_global_tokens)
    names = [name for name, _ in attention.named_parameters()]
    x = torch.randn(2, num_global_tokens + GRID[0] * GRID[1], 8, dtype=torch.float64, requires_grad=True)

    def call(x, *parameters):
        return torch.func.functional_call(attention, dict(zip(names, parameters)), (x, GRID))

    inputs = (x, *(torch.randn_like(p, requires_grad=True) for p in attention.parameters()))
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    call(*inputs).square().sum().backward()
    assert [name for name, value in zip(['x', *names], inputs) if value.grad is None or not value.grad.any()] == []


def check_state_round_trip(cls, num_global_tokens):
    source, target = build(cls, num_global_tokens), build(cls, num_global_tokens)
    for tensor in target.state_dict().values():
        tensor.fill_(0.5)
    target.load_state_dict(source.state_dict())
    x = torch.randn(1, num_global_tokens + GRID[0] * GRID[1], 8, dtype=torch.float64)
    assert torch.equal(source(x, GRID), target(x, GRID))


def check_repr(cls):
    """Settings are listed, and arguments that make a layer show as that layer."""
    attention = build(cls, 1)
    for name in ('embed_dims', 'num_heads', 'num_global_tokens', 'grid_size', 'window_size'):
        assert f'{name}={getattr(attention, name)!r}' in repr(attention), name
    own = inspect.signature(cls).parameters.values()
    for name in (p.name for p in own if p.kind is not p.VAR_KEYWORD and p.kind is not p.VAR_POSITIONAL):
        assert (
            f'{name}=' in repr(attention)
            or f'({name}):' in repr(attention)
            or name in ('qkv_bias', 'init_cfg', 'backend')
        ), name


CLASSES = pytest.mark.parametrize('cls', [pytest.param(cls, id=name) for name, cls in attention_classes().items()])


@CLASSES
@pytest.mark.parametrize('num_global_tokens', [0, 1, 3])
@pytest.mark.parametrize('grid', [(1, 1), (3, 3), (5, 7), (2, 9)], ids=str)
def test_any_grid(cls, num_global_tokens, grid):
    check_any_grid(cls, num_global_tokens, grid)


@CLASSES
def test_inputs_of_other_channels(cls):
    check_inputs_of_other_channels(cls)


@CLASSES
@pytest.mark.parametrize('num_global_tokens', [0, 2])
def test_no_images(cls, num_global_tokens):
    check_no_images(cls, num_global_tokens)


@CLASSES
@pytest.mark.parametrize('num_global_tokens', [0, 2])
def test_gradients(cls, num_global_tokens):
    check_gradients(cls, num_global_tokens)


@CLASSES
@pytest.mark.parametrize('num_global_tokens', [0, 2])
def test_state_round_trip(cls, num_global_tokens):
    check_state_round_trip(cls, num_global_tokens)


@CLASSES
def test_repr(cls):
    check_repr(cls)


@CLASSES
@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(num_heads=3), 'num_heads=3 must divide embed_dims=8'),
        (dict(num_global_tokens=-1), 'num_global_tokens=-1 must be an integer of at least 0'),
        (dict(window_size=0), 'window_size=0 must be an integer (of at least|from) 1'),
    ],
)
def test_errors(cls, kwargs, message):
    with pytest.raises(ValueError, match=message):
        cls(**{**dict(embed_dims=8, num_heads=2, grid_size=GRID), **kwargs})
