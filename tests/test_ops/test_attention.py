"""Attention from each query to each key, against PyTorch's."""

import pytest
import torch
import torch.nn.functional as F

from tests.test_ops.cases import backend_parameters
from vil_mm.ops import attend, attention


def draw(length, num_keys, dtype, width=24):
    """Queries, keys and values with gradients, and the output's gradient."""
    shapes = [(2, 3, size, width) for size in (length, num_keys, num_keys)]
    tensors = [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]
    return tensors, torch.randn(shapes[0], dtype=torch.float64).to(dtype)


def results_of(run, tensors, grad_out, **settings):
    output = run(*tensors, **settings)
    return [output.detach(), *torch.autograd.grad(output, tensors, grad_out)]


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ('length', 'num_keys', 'scale'), [(2, 2, None), (49, 49, None), (50, 63, 0.3), (197, 197, None), (5, 3, None)]
)
def test_results_and_gradients(length, num_keys, scale, dtype):
    tensors, grad_out = draw(length, num_keys, dtype)
    exact = results_of(
        F.scaled_dot_product_attention,
        [x.detach().double().requires_grad_() for x in tensors],
        grad_out.double(),
        scale=scale,
    )
    ours = results_of(attend, tensors, grad_out, scale=scale)
    if dtype == torch.float64:
        torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-12)
        return
    plain = results_of(F.scaled_dot_product_attention, tensors, grad_out, scale=scale)
    for result, other, truth in zip(ours, plain, exact):
        last_bit = torch.finfo(dtype).eps * truth.norm() / 2
        assert (result - truth).norm() <= max(2 * (other - truth).norm(), last_bit)


@pytest.mark.parametrize('backend', backend_parameters('cpu'))
def test_who_attends(backend, monkeypatch):
    """The compiled kernels, if allowed, without a bias and dropout, and with as many keys as queries or some more."""
    lengths = []
    run = attention.sliding_window_attention

    def count(q, *args, **settings):
        lengths.append(q.shape[2])
        return run(q, *args, **settings)

    monkeypatch.setattr(attention, 'sliding_window_attention', count)
    (q, k, v), _ = draw(7, 9, torch.float32)
    attend(q, k, v)
    assert lengths == [7]
    attend(q, k, v, bias=torch.randn(1, 3, 7, 9))
    attend(q, k, v, dropout_p=0.5)
    attend(q, k[:, :, :6], v[:, :, :6])
    attend(q[:, :, :4], k, v)
    attend(*(x.half().to('meta') for x in (q, k, v)))
    with monkeypatch.context() as patch:
        patch.setenv('VIL_MM_BACKEND', 'pytorch')
        attend(q, k, v)
    torch.export.export(Attend(), (q.detach(), k.detach(), v.detach()))
    assert lengths == [7]


class Attend(torch.nn.Module):
    def forward(self, q, k, v):
        return attend(q, k, v)


def test_bias():
    (q, k, v), grad_out = draw(7, 9, torch.float64)
    bias = torch.randn(1, 3, 7, 9, dtype=torch.float64)
    ours = results_of(attend, (q, k, v), grad_out, bias=bias, scale=0.2)
    theirs = results_of(F.scaled_dot_product_attention, (q, k, v), grad_out, attn_mask=bias, scale=0.2)
    torch.testing.assert_close(ours, theirs)


def test_compile_with_dynamic_shapes():
    """One graph serves all lengths, gradients included."""
    torch.compiler.reset()
    compiled = torch.compile(attend, backend='aot_eager', fullgraph=True, dynamic=True)
    with torch._dynamo.config.patch(error_on_recompile=True):
        for length in (12, 20, 31):
            tensors, grad_out = draw(length, length, torch.float32)
            ours = results_of(compiled, tensors, grad_out)
            torch.testing.assert_close(ours, results_of(attend, tensors, grad_out))
