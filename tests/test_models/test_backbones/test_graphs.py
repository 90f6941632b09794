"""Every backbone as a graph: exported programs, and compiled models."""

from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.export import Dim
from torch.fx.experimental import _config

from tests.test_models.test_backbones.test_contract import BACKBONES, build

#: Square, odd and non-square ones, maps of less than a window, and a single image.
SHAPES = [(2, 64, 64), (2, 96, 64), (1, 61, 97), (3, 33, 50), (1, 5, 224)]

pytestmark = [pytest.mark.slow, pytest.mark.parametrize('family', BACKBONES)]


@pytest.fixture(autouse=True)
def forget_graphs():
    """Without it, the graphs of earlier tests would count toward the limit of recompilations."""
    torch.compiler.reset()


def build_varied(family, **kwargs):
    """Build a model whose weights are all large enough to matter, and small enough that rounding does not."""
    model = build(family, **kwargs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3 if parameter.ndim > 1 else 0.1)
        for module in model.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.weight.normal_(std=module.weight[0].numel() ** -0.5)
            elif isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)):
                module.weight.add_(1)
    return model


def shapes(training):
    """Those of the images: in training two at least, because batch norms of dynamic kernels need them."""
    return [(max(2, batch) if training else batch, *size) for batch, *size in SHAPES]


def gradients(parameters, outputs):
    loss = sum(x.square().mean() for x in outputs)
    return torch.autograd.grad(loss, list(parameters))


@pytest.mark.parametrize('training', [False, True])
def test_exported_for_all_sizes(family, training):
    """For inference, and for training, with gradients; in float64, so that nothing but rounding may differ."""
    model = build_varied(family).double().train(training)
    dynamic = (dict.fromkeys((0, 2, 3), Dim.DYNAMIC),)
    with torch.set_grad_enabled(training):
        with _config.patch(backed_size_oblivious=True):
            images = torch.randn(2, 3, 96, 224, dtype=torch.float64)
            program = torch.export.export(deepcopy(model), (images,), dynamic_shapes=dynamic, strict=False)
        ops = {str(node.target) for node in program.graph.nodes if node.op == 'call_function'}
        assert not [name for name in ops if name.startswith('vil_mm')]  # runs without this package
        run = program.module(check_guards=False)  # PyTorch's guards are about strides too, which no op needs
        for batch, *size in shapes(training):
            images = torch.randn(batch, 3, *size, dtype=torch.float64)
            expected, outputs = model(images), run(images)
            torch.testing.assert_close(outputs, expected)
            if training:
                parameters = [run.get_parameter(name) for name, _ in model.named_parameters()]
                torch.testing.assert_close(gradients(parameters, outputs), gradients(model.parameters(), expected))
    torch.testing.assert_close(dict(run.state_dict()), dict(model.state_dict()))  # statistics of batch norms


@pytest.mark.parametrize('dynamic', [False, True])
@pytest.mark.parametrize('training', [False, True])
def test_compiled(family, training, dynamic, monkeypatch):
    """In one graph, for inference, and for training, with gradients, in float64, since batch norms amplify rounding."""
    dtype = torch.float64 if training else torch.float32
    model = build_varied(family).train(training).to(dtype)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic)
    # a graph for square images, one for all sizes, and others for single images and for maps that are one token high
    if not training:
        monkeypatch.setattr(torch._dynamo.config, 'recompile_limit', 4)
    # in training, two sizes: each may have a graph of its own, which takes minutes
    for batch, *size in shapes(training)[: None if dynamic and not training else 2]:
        images = torch.randn(batch, 3, *size, dtype=dtype)
        if training:
            results = []
            for run in (model, compiled):
                outputs = run(images)
                # before the next run, which updates the statistics of batch norms
                results.append((outputs, gradients(model.parameters(), outputs)))
            torch.testing.assert_close(*results)
        else:
            with torch.no_grad():
                torch.testing.assert_close(compiled(images), model(images), rtol=1e-4, atol=1e-4)
