"""Depthwise convolutions against PyTorch's own and an unfolded map, gradients included."""

import pytest
import torch
import torch.nn.functional as F

from vil_mm.ops import depthwise_conv, depthwise_conv2d, inhomogeneous_conv, inhomogeneous_conv2d

FORMATS = pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last], ids=str)


@pytest.fixture(autouse=True)
def own_gradient(monkeypatch):
    """Also where PyTorch's would be faster."""
    for name in ('FASTER_FROM_SIZE', 'FASTER_ABOVE'):
        monkeypatch.setattr(depthwise_conv, name, 0)


def randn(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def expected_convolution(x, weight, bias=None):
    """One image after the other, by PyTorch's own convolution and gradient."""
    weights = weight if weight.ndim == 4 else [weight] * len(x)
    images = [
        F.conv2d(image[None], kernels[:, None], bias, padding=kernels.shape[-1] // 2, groups=len(kernels))
        for image, kernels in zip(x, weights)
    ]
    return torch.cat(images)


def expected_inhomogeneous(x, weight):
    batch, groups, size, _, height, width = weight.shape
    unfolded = F.unfold(x, size, padding=size // 2).view(batch, groups, -1, size**2, height, width)
    return (weight.flatten(2, 3)[:, :, None] * unfolded).sum(dim=3).flatten(1, 2)


def assert_same(function, expected, inputs, **tolerance):
    output, reference = function(*inputs), expected(*inputs)
    torch.testing.assert_close(output, reference, **tolerance)
    cotangent = torch.randn_like(reference)
    torch.testing.assert_close(
        torch.autograd.grad(output, inputs, cotangent), torch.autograd.grad(reference, inputs, cotangent), **tolerance
    )


@FORMATS
@pytest.mark.parametrize('size', [(5, 9), (3, 2), (40, 70), (1, 1)])
@pytest.mark.parametrize('own_kernels', [False, True], ids=['static', 'dynamic'])
def test_depthwise(own_kernels, size, memory_format):
    """Maps smaller than the kernel, and larger than one sum of the gradient, included."""
    torch.manual_seed(0)
    x = torch.randn(3, 4, *size, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    weight = randn(3, 4, 7, 7) if own_kernels else randn(4, 7, 7)
    assert_same(depthwise_conv2d, expected_convolution, (x, weight, randn(4)))
    assert_same(depthwise_conv2d, expected_convolution, (x, weight))


@FORMATS
def test_depthwise_at_once(memory_format):
    """What runs on a GPU."""
    torch.manual_seed(0)
    x = torch.randn(3, 4, 5, 9, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    assert_same(depthwise_conv._convolve_at_once, expected_convolution, (x, randn(3, 4, 7, 7), randn(4)))


def test_small_kernels_and_maps_have_the_gradient_of_pytorch(monkeypatch):
    monkeypatch.undo()
    for channels, size, kernel_size, is_own in ((96, 14, 7, True), (16, 14, 7, False), (96, 14, 3, False)):
        out = depthwise_conv2d(randn(2, channels, size, size), randn(channels, kernel_size, kernel_size))
        assert ('DepthwiseConv' in type(out.grad_fn).__name__) is is_own


@pytest.mark.parametrize('own_kernels', [False, True], ids=['static', 'dynamic'])
def test_depthwise_gradgradcheck(own_kernels):
    torch.manual_seed(0)
    inputs = randn(2, 2, 4, 5), randn(2, 2, 3, 3) if own_kernels else randn(2, 3, 3), randn(2)
    assert torch.autograd.gradcheck(depthwise_conv2d, inputs)
    assert torch.autograd.gradgradcheck(depthwise_conv2d, inputs)


def test_depthwise_gradient_is_precise_on_large_maps():
    """In float32 at most four times as far from float64 as PyTorch's own gradient."""
    torch.manual_seed(0)
    x, grad = (torch.randn(1, 16, 100, 160).to(memory_format=torch.channels_last) for _ in range(2))

    def gradient(convolution, dtype):
        weight = torch.zeros(16, 7, 7, dtype=dtype, requires_grad=True)
        return torch.autograd.grad(convolution(x.to(dtype), weight), weight, grad.to(dtype))[0]

    exact = gradient(expected_convolution, torch.float64)
    own, ours = (
        (gradient(convolution, torch.float32) - exact).abs().max()
        for convolution in (expected_convolution, depthwise_conv2d)
    )
    assert ours <= 4 * own


@FORMATS
@pytest.mark.parametrize('size', [(5, 9), (3, 2), (1, 1)])
def test_inhomogeneous(size, memory_format):
    torch.manual_seed(0)
    x = torch.randn(2, 6, *size, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    assert_same(inhomogeneous_conv2d, expected_inhomogeneous, (x, randn(2, 3, 7, 7, *size)))


def test_inhomogeneous_gradcheck():
    torch.manual_seed(0)
    assert torch.autograd.gradcheck(inhomogeneous_conv2d, (randn(2, 4, 3, 4), randn(2, 2, 3, 3, 3, 4)))
    assert torch.autograd.gradcheck(inhomogeneous_conv2d, (randn(1, 2, 2, 3), randn(1, 2, 1, 1, 2, 3)))


def test_inhomogeneous_memory_is_bounded():
    """Only the inputs are saved for the gradient, no neighbors."""
    x, weight = randn(1, 8, 16, 16), randn(1, 2, 7, 7, 16, 16)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        inhomogeneous_conv2d(x, weight)
    assert sum(saved) == x.numel() + weight.numel()


@FORMATS
@pytest.mark.parametrize('own_kernels', [False, True], ids=['static', 'dynamic'])
def test_depthwise_in_graphs(own_kernels, memory_format):
    """The op that compiled graphs hold, and what exported programs hold."""
    x = torch.randn(2, 4, 5, 9, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    inputs = x, randn(2, 4, 3, 3) if own_kernels else randn(4, 3, 3), randn(4)
    op = torch.ops.vil_mm.depthwise_conv2d
    torch.library.opcheck(op.default, inputs)
    for function in (op, depthwise_conv._convolve_plainly):
        assert_same(function, expected_convolution, inputs)
        assert_same(lambda x, weight, function=function: function(x, weight, None), expected_convolution, inputs[:2])


@FORMATS
def test_inhomogeneous_in_graphs(memory_format):
    x = torch.randn(2, 6, 5, 4, dtype=torch.float64).to(memory_format=memory_format).requires_grad_()
    weight = randn(2, 3, 3, 3, 5, 4)
    torch.library.opcheck(torch.ops.vil_mm.inhomogeneous_conv2d.default, (x, weight))
    assert_same(torch.ops.vil_mm.inhomogeneous_conv2d, expected_inhomogeneous, (x, weight))
    plain = inhomogeneous_conv.sum_neighbors(x.unflatten(1, (3, 2)), weight).flatten(1, 2)
    torch.testing.assert_close(plain, expected_inhomogeneous(x, weight))


@pytest.mark.parametrize('own_kernels', [False, True])
def test_depthwise_of_no_images(own_kernels):
    x, bias = randn(0, 4, 6, 5), randn(4)
    weight = randn(0, 4, 7, 7) if own_kernels else randn(4, 7, 7)
    output = depthwise_conv2d(x, weight, bias)
    gradients = torch.autograd.grad(output.sum(), (x, weight, bias))
    assert output.shape == x.shape and [g.shape for g in gradients] == [x.shape, weight.shape, bias.shape]
    assert not any(gradient.any() for gradient in gradients)


def test_inhomogeneous_of_no_images():
    x, weight = randn(0, 4, 6, 5), randn(0, 2, 3, 3, 6, 5)
    output = inhomogeneous_conv2d(x, weight)
    assert output.shape == x.shape and torch.autograd.grad(output.sum(), x)[0].shape == x.shape


@pytest.mark.parametrize('shape', [(2, 4, 3, 3), (5, 4, 3, 3), (3, 2, 3, 3), (8, 3, 3), (1, 3, 3)])
def test_kernels_of_other_maps(shape):
    with pytest.raises(ValueError, match=r'weight has shape .* for x of shape \(N, C, H, W\) = \(3, 4, 8, 8\)'):
        depthwise_conv2d(torch.randn(3, 4, 8, 8), torch.randn(shape))


def test_bias_of_other_maps():
    with pytest.raises(ValueError, match=r'bias has shape \(1,\), must be \(4,\)'):
        depthwise_conv2d(torch.randn(3, 4, 8, 8), torch.randn(4, 3, 3), torch.randn(1))


@pytest.mark.parametrize(
    'shape',
    [(2, 2, 3, 3, 8, 8), (4, 2, 3, 3, 8, 8), (3, 3, 3, 3, 8, 8), (3, 2, 3, 3, 1, 1), (3, 2, 3, 3, 8, 9)],
)
def test_kernels_of_other_pixels(shape):
    with pytest.raises(ValueError, match=r'weight has shape .* for x of shape \(N, C, H, W\) = \(3, 4, 8, 8\)'):
        inhomogeneous_conv2d(torch.randn(3, 4, 8, 8), torch.randn(shape))
