"""Every backbone as a graph: exported programs, and compiled models."""

import pytest
import torch
from torch.export import Dim
from torch.fx.experimental import _config

from tests.test_models.test_backbones.test_contract import BACKBONES, build

#: Odd and non-square ones, maps of less than a window, and a single image.
SHAPES = [(2, 96, 64), (1, 61, 97), (3, 33, 50), (1, 5, 224), (2, 64, 64)]
#: One kind for each op and attention that a graph holds.
QUICK = ('vil', 'dwnet-dynamic')


def families(quick=()):
    return pytest.mark.parametrize(
        'family', [pytest.param(family, marks=() if family in quick else pytest.mark.slow) for family in BACKBONES]
    )


def build_varied(family, **kwargs):
    """Build a model whose weights are all large enough to matter."""
    model = build(family, **kwargs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3 if parameter.ndim > 1 else 0.1)
        for norm in (m for m in model.modules() if 'Norm' in type(m).__name__):
            norm.weight.add_(1)
    return model


def gradients(model, outputs):
    loss = sum(x.square().mean() for x in outputs)
    return torch.autograd.grad(loss, list(model.parameters()))


@pytest.mark.slow
@families(QUICK)
def test_exported_for_all_sizes(family):
    model = build_varied(family).eval()
    dynamic = (dict.fromkeys((0, 2, 3), Dim.DYNAMIC),)
    with torch.no_grad(), _config.patch(backed_size_oblivious=True):
        program = torch.export.export(model, (torch.randn(2, 3, 96, 224),), dynamic_shapes=dynamic, strict=False)
    ops = {str(node.target) for node in program.graph.nodes if node.op == 'call_function'}
    assert not [name for name in ops if name.startswith('vil_mm')]  # runs without this package
    run = program.module(check_guards=False)  # PyTorch's guards are about strides too, which no op of the program needs
    for batch, *size in SHAPES:
        images = torch.randn(batch, 3, *size)
        with torch.no_grad():
            torch.testing.assert_close(run(images), model(images), rtol=1e-4, atol=1e-4)


@families()
@pytest.mark.parametrize('dynamic', [False, True])
@pytest.mark.parametrize('training', [False, True])
def test_compiled(family, training, dynamic):
    """In one graph, for inference and for training, with gradients."""
    model = build_varied(family).train(training)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    # batch norms of dynamic kernels cannot be trained on one image
    shapes = [(max(2, batch) if training else batch, *size) for batch, *size in SHAPES]
    for batch, *size in shapes if dynamic else shapes[:2]:
        images = torch.randn(batch, 3, *size)
        if training:
            expected, outputs = model(images), compiled(images)
            torch.testing.assert_close(outputs, expected, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(gradients(model, outputs), gradients(model, expected), rtol=1e-2, atol=1e-4)
        else:
            with torch.no_grad():
                torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-4)
