"""Convolutions and patch merging as layers."""

import pytest
import torch
import torch.nn.functional as F

from vil_mm.models.layers import DynamicDepthwiseConv, InhomogeneousDepthwiseConv, PatchMerging, PointwiseConv


@pytest.mark.parametrize('kind', ['dynamic', 'inhomogeneous'])
def test_mixed_precision(kind):
    """Under autocast, outputs and gradients stay as close to float32 as bfloat16 allows."""
    torch.manual_seed(0)
    norm_cfg = dict(type='BN')
    if kind == 'dynamic':
        layer = DynamicDepthwiseConv(8, 7, norm_cfg)
    else:
        layer = InhomogeneousDepthwiseConv(8, 7, norm_cfg, num_groups=2)
    layer.eval()  # a norm of the statistics of two images would blow up what is rounded
    x = torch.randn(2, 8, 9, 13, requires_grad=True)
    results = []
    for enabled in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
            output = layer(x)
        parameters = [x, *layer.parameters()]
        gradients = torch.autograd.grad(output.float().square().mean(), parameters)
        assert [g.dtype for g in gradients] == [p.dtype for p in parameters]
        results.append([output.float(), *gradients])
    for exact, mixed in zip(*results):
        assert (mixed - exact).abs().max() <= 0.05 * max(exact.abs().max(), 1e-2)


def test_one_image_cannot_train_dynamic_kernels():
    layer = DynamicDepthwiseConv(8, 3, dict(type='BN'))
    x = torch.randn(1, 8, 4, 4)
    with pytest.raises(ValueError, match=r'cannot be trained on a batch of one image: .*norm_eval=True'):
        layer(x)
    assert layer.eval()(x).shape == x.shape
    assert DynamicDepthwiseConv(8, 3, dict(type='GN', num_groups=1))(x).shape == x.shape


@pytest.mark.parametrize(
    'build, message',
    [
        (lambda: InhomogeneousDepthwiseConv(8, 7, dict(type='BN'), num_groups=3), 'num_groups=3 must divide'),
        (lambda: DynamicDepthwiseConv(3, 7, dict(type='BN')), 'channels=3 must be an integer of at least 4'),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_pointwise():
    torch.manual_seed(0)
    layer, x = PointwiseConv(5, 3).double(), torch.randn(2, 5, 4, 6, dtype=torch.float64, requires_grad=True)
    output, expected = layer(x), F.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(output, expected)
    cotangent = torch.randn_like(expected)
    inputs = (x, layer.weight, layer.bias)
    gradients, expected_gradients = (torch.autograd.grad(out, inputs, cotangent) for out in (output, expected))
    torch.testing.assert_close(gradients, expected_gradients)


def test_patch_merging_order():
    """Pixels join in the order upper left, lower left, upper right, lower right, each with all its channels."""
    layer = PatchMerging(2, 8, dict(type='LN'))
    layer.norm = torch.nn.Identity()
    torch.nn.init.eye_(layer.reduction.weight)
    x = torch.arange(1.0, 13).reshape(1, 2, 2, 3)
    tokens, hw_shape = layer(x)
    assert hw_shape == (1, 2)
    assert tokens[0].tolist() == [[1, 7, 4, 10, 2, 8, 5, 11], [3, 9, 6, 12, 0, 0, 0, 0]]
