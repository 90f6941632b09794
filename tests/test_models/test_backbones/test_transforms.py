"""Every backbone under the transforms of ``torch.func``, which do not know the ops of this package."""

import pytest
import torch
from torch.func import grad, jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from tests.test_models.test_backbones.test_contract import BACKBONES, build


@pytest.fixture(params=BACKBONES)
def function(request):
    """A function from a batch of images to a number, in float64."""
    model = build(request.param).eval().double().requires_grad_(False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.2)
    return lambda images: sum(x.square().mean(dim=(1, 2, 3)).sum() for x in model(images))


def expected(function, images):
    return torch.autograd.grad(function(images.requires_grad_()), images)[0]


def test_derivatives(function):
    images, direction = torch.randn(2, 2, 3, 61, 64, dtype=torch.float64)
    gradient = expected(function, images.clone())
    torch.testing.assert_close(grad(function)(images), gradient)
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch has no forward-mode derivatives of its fused attention
        torch.testing.assert_close(jvp(function, (images,), (direction,))[1], (gradient * direction).sum())


def test_per_sample_gradients(function):
    images = torch.randn(2, 3, 61, 64, dtype=torch.float64)
    result = vmap(grad(lambda image: function(image[None])))(images)
    torch.testing.assert_close(result, expected(function, images))
